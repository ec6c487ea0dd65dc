; suffixes: .ts .mts .cts
; grammar: tree_sitter_typescript.language_typescript
; declaration_files: *.d.ts *.d.mts *.d.cts
; inherits: javascript

; TypeScript's additions to JavaScript's holes.

; Declared types; uses of types are type_identifier.
(class_declaration name: (type_identifier) @identifiers)
(abstract_class_declaration name: (type_identifier) @identifiers)
(interface_declaration name: (type_identifier) @identifiers)
(type_alias_declaration name: (type_identifier) @identifiers)

[
  "abstract" "accessor" "asserts" "declare" "enum" "global" "implements" "infer" "interface" "is" "keyof"
  "module" "namespace" "override" "private" "protected" "public" "readonly" "satisfies" "type"
] @keywords

(function_signature name: (identifier) @function_name)
(method_signature name: (property_identifier) @function_name)
(abstract_method_signature name: (property_identifier) @function_name)

; What the roles of heads look at.
(required_parameter pattern: (identifier) @_declared)
(optional_parameter pattern: (identifier) @_declared)
