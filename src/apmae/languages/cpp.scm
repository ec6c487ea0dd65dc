; suffixes: .cpp .cc .cxx .hpp .hh .hxx .h
; grammar: tree_sitter_cpp.language

; C++'s holes. docs/languages.md says what a query may hold. The grammar does not parse the bodies of macros,
; so they have no holes.

; Names of variables, functions, fields, namespaces, declared types, macros and labels. Uses of types are
; type_identifier.
[(identifier) (field_identifier) (namespace_identifier) (statement_identifier)] @identifiers
(class_specifier name: (type_identifier) @identifiers body: (_))
(struct_specifier name: (type_identifier) @identifiers body: (_))
(union_specifier name: (type_identifier) @identifiers body: (_))
(enum_specifier name: (type_identifier) @identifiers body: (_))
(alias_declaration name: (type_identifier) @identifiers)

; The text between the quotes of a string or a character, and inside a raw string.
((string_literal) @string_literals (#set! content "(?:u8|[uUL])?\"(.+)\""))
((char_literal) @string_literals (#set! content "(?:u8|[uUL])?'(.+)'"))
((raw_string_content) @string_literals (#set! content "(?:\\s*\\n\\s*(?=\\S))?([^\\r\\n].*)"))

[(true) (false)] @boolean_literals

; The grammar takes a sign into the number where no operand precedes it.
((number_literal) @numeric_literals (#set! content "[-+]?(.+)"))

; Operators whose result is a boolean. The < and > of templates belong to other nodes.
(binary_expression operator: ["&&" "||" "and" "or" "==" "!=" "not_eq" "<" ">" "<=" ">="] @boolean_operators)
(unary_expression operator: ["!" "not"] @boolean_operators)

; Arithmetic and signs, without ++, --, shifts and bitwise operators.
(binary_expression operator: ["+" "-" "*" "/" "%"] @mathematical_operators)
(unary_expression operator: ["+" "-"] @mathematical_operators)
((number_literal) @mathematical_operators (#set! content "([-+]).+"))

; Assignments, plain and compound, and initialisers of variables, fields and captures. Defaults and the
; `= 0` of pure functions are left out.
(assignment_expression
  operator: ["=" "+=" "-=" "*=" "/=" "%=" "&=" "|=" "^=" "<<=" ">>="] @assignment_operators)
(init_declarator "=" @assignment_operators)
(declaration "=" @assignment_operators)
(field_declaration
  declarator: [
    (field_identifier)
    (array_declarator)
    (pointer_declarator declarator: (field_identifier))
  ]
  "=" @assignment_operators)
(lambda_capture_initializer "=" @assignment_operators)

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones acting as such. Types, values, the operators of boolean_operators and
; directives are left out.
[
  "alignas" "alignof" "break" "case" "catch" "class" "co_await" "co_return" "co_yield" "concept" "const"
  "consteval" "constexpr" "constinit" "continue" "decltype" "default" "delete" "do" "else" "enum" "explicit"
  "extern" "final" "for" "friend" "goto" "if" "inline" "mutable" "namespace" "new" "noexcept" "operator"
  "override" "private" "protected" "public" "register" "requires" "return" "sizeof" "static"
  "static_assert" "struct" "switch" "template" "thread_local" "throw" "try" "typedef" "typename" "union"
  "using" "virtual" "volatile" "while"
] @keywords

; A name may be qualified: `f`, `a::f`, `a::b::f`, `a::b::c::f`.
(call_expression function: (identifier) @function_call)
(call_expression function: (template_function name: (identifier) @function_call))
(call_expression function: (field_expression field: (field_identifier) @function_call))
(call_expression function: (field_expression field: [
  (template_method name: (field_identifier) @function_call)
  (dependent_name (template_method name: (field_identifier) @function_call))]))
(call_expression function: (qualified_identifier name: [
  (identifier) @function_call
  (template_function name: (identifier) @function_call)
  (qualified_identifier name: [
    (identifier) @function_call
    (template_function name: (identifier) @function_call)
    (qualified_identifier name: [
      (identifier) @function_call
      (template_function name: (identifier) @function_call)])])]))

(function_declarator declarator: [(identifier) (field_identifier)] @function_name)
(function_declarator declarator: (template_function name: (identifier) @function_name))
(function_declarator declarator: (qualified_identifier name: [
  (identifier) @function_name
  (template_function name: (identifier) @function_name)
  (qualified_identifier name: [
    (identifier) @function_name
    (template_function name: (identifier) @function_name)])]))
(function_definition) @_function

(comment) @_comment
(raw_string_content) @_text
(raw_string_literal ["(" ")"] @_excluded)
; The grammar parses casts as functions.
((identifier) @_excluded (#match? @_excluded "^(const|dynamic|reinterpret|static)_cast$"))
(ERROR) @_excluded

; What the roles of heads look at.
["(" "[" "{"] @_opening_bracket
(argument_list) @_arguments
[
  (init_declarator declarator: (identifier) @_declared)
  (init_declarator declarator: (pointer_declarator declarator: (identifier) @_declared))
  (init_declarator declarator: (reference_declarator (identifier) @_declared))
  (declaration declarator: (identifier) @_declared)
  (parameter_declaration declarator: (identifier) @_declared)
  (parameter_declaration declarator: (pointer_declarator declarator: (identifier) @_declared))
  (parameter_declaration declarator: (reference_declarator (identifier) @_declared))
  (field_declaration declarator: (field_identifier) @_declared)
  (function_declarator declarator: [(identifier) (field_identifier)] @_declared)
  (for_range_loop declarator: (identifier) @_declared)
  (for_range_loop declarator: (reference_declarator (identifier) @_declared))
]
