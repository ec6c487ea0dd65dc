; suffixes: .java
; grammar: tree_sitter_java.language
; declaration_files: package-info.java module-info.java

; Java's holes. docs/languages.md says what a query may hold.

; Names of variables, methods, fields, declared types and labels. Uses of types are type_identifier.
(identifier) @identifiers

; The text between the quotes of a string, a text block or a character. A text block's content starts
; after its opening line and its indentation.
((string_literal . "\"") @string_literals (#set! content "\"(.+)\""))
((string_literal . "\"\"\"") @string_literals (#set! content "\"\"\"\\s*\\n\\s*(\\S.*)\"\"\""))
((character_literal) @string_literals (#set! content "'(.+)'"))

[(true) (false)] @boolean_literals

[
  (decimal_integer_literal)
  (hex_integer_literal)
  (octal_integer_literal)
  (binary_integer_literal)
  (decimal_floating_point_literal)
  (hex_floating_point_literal)
] @numeric_literals

; Operators whose result is a boolean. The < and > of generics belong to other nodes.
(binary_expression operator: ["&&" "||" "==" "!=" "<" ">" "<=" ">="] @boolean_operators)
(unary_expression operator: "!" @boolean_operators)

; Arithmetic, signs and string concatenation, without ++, --, shifts and bitwise operators.
(binary_expression operator: ["+" "-" "*" "/" "%"] @mathematical_operators)
(unary_expression operator: ["+" "-"] @mathematical_operators)

; Assignments, plain and compound, and initialisers of variables.
(assignment_expression
  operator: ["=" "+=" "-=" "*=" "/=" "%=" "&=" "|=" "^=" "<<=" ">>=" ">>>="] @assignment_operators)
(variable_declarator "=" @assignment_operators)

; The operators of the paper's release: comparisons by size and counting are numeric there, and its
; assignments are compound only.
(binary_expression operator: ["&&" "||" "==" "!="] @logical_operators)
(unary_expression operator: "!" @logical_operators)
(binary_expression operator: ["+" "-" "*" "/" "%" "<" ">" "<=" ">="] @numeric_operators)
(unary_expression operator: ["+" "-"] @numeric_operators)
(update_expression ["++" "--"] @numeric_operators)
(assignment_expression
  operator: ["+=" "-=" "*=" "/=" "%=" "&=" "|=" "^=" "<<=" ">>=" ">>>="] @compound_assignment_operators)

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones acting as such. Types and values are left out.
[
  "abstract" "assert" "break" "case" "catch" "class" "continue" "default" "do" "else" "enum" "extends"
  "final" "finally" "for" "if" "implements" "import" "instanceof" "interface" "@interface" "native" "new"
  "non-sealed" "package" "permits" "private" "protected" "public" "record" "return" "sealed" "static"
  "strictfp" "switch" "synchronized" "throw" "throws" "transient" "try" "volatile" "when" "while" "yield"
] @keywords

(method_invocation name: (identifier) @function_call)

(method_declaration name: (identifier) @function_name)
(constructor_declaration name: (identifier) @function_name)
(compact_constructor_declaration name: (identifier) @function_name)
[(method_declaration) (constructor_declaration) (compact_constructor_declaration)] @_function

[(line_comment) (block_comment)] @_comment
(string_literal) @_text
(ERROR) @_excluded

; What the roles of heads look at.
["(" "[" "{"] @_opening_bracket
(argument_list) @_arguments
[
  (variable_declarator name: (identifier) @_declared)
  (formal_parameter name: (identifier) @_declared)
  (catch_formal_parameter name: (identifier) @_declared)
  (enhanced_for_statement name: (identifier) @_declared)
  (resource name: (identifier) @_declared)
  (lambda_expression parameters: (identifier) @_declared)
  (inferred_parameters (identifier) @_declared)
  (method_declaration name: (identifier) @_declared)
  (class_declaration name: (identifier) @_declared)
  (interface_declaration name: (identifier) @_declared)
  (enum_declaration name: (identifier) @_declared)
  (record_declaration name: (identifier) @_declared)
  (enum_constant name: (identifier) @_declared)
]
