; suffixes: .js .mjs .cjs .jsx
; grammar: tree_sitter_javascript.language

; JavaScript's holes. docs/languages.md says what a query may hold. TypeScript inherits them, so this query
; must fit its grammar too.

; Names of variables, functions, properties, classes and labels.
[
  (identifier)
  (property_identifier)
  (shorthand_property_identifier)
  (shorthand_property_identifier_pattern)
  (statement_identifier)
] @identifiers
((private_property_identifier) @identifiers (#set! content "#(.+)"))

; The text between the quotes of a string, and of a template without substitutions. The content of a template
; that starts with a line break starts after it and the indentation.
((string) @string_literals (#set! content "['\"](.+)['\"]"))
((template_string) @string_literals
  (#set! content "`(?:\\s*\\n\\s*(?=\\S))?((?![\\r\\n])(?:[^$\\\\]|\\\\.|\\$(?!\\{))+)`"))

[(true) (false)] @boolean_literals

(number) @numeric_literals

; Operators whose result is a boolean, or one of the operands.
(binary_expression operator: ["&&" "||" "==" "===" "!=" "!==" "<" ">" "<=" ">="] @boolean_operators)
(unary_expression operator: "!" @boolean_operators)

; Arithmetic, signs and string concatenation, without ++, --, shifts and bitwise operators.
(binary_expression operator: ["+" "-" "*" "/" "%" "**"] @mathematical_operators)
(unary_expression operator: ["+" "-"] @mathematical_operators)

; Assignments, plain and compound, and initialisers of variables and fields. Defaults are left out.
(assignment_expression "=" @assignment_operators)
(augmented_assignment_expression
  operator: [
    "+=" "-=" "*=" "/=" "%=" "**=" "&=" "|=" "^=" "<<=" ">>=" ">>>=" "&&=" "||=" "??="
  ] @assignment_operators)
(variable_declarator "=" @assignment_operators)
(class_body (_ "=" @assignment_operators))

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones acting as such. Values are left out.
[
  "as" "async" "await" "break" "case" "catch" "class" "const" "continue" "debugger" "default" "delete" "do"
  "else" "export" "extends" "finally" "for" "from" "function" "get" "if" "import" "in" "instanceof" "let"
  "new" "of" "return" "set" "static" "switch" "throw" "try" "typeof" "var" "while" "with" "yield"
] @keywords
(unary_expression "void" @keywords)

(call_expression function: (identifier) @function_call)
(call_expression function: (member_expression property: (property_identifier) @function_call))
((call_expression function: (member_expression property: (private_property_identifier) @function_call))
  (#set! content "#(.+)"))

; Names in function declarations, and names that a function is assigned to.
(function_declaration name: (identifier) @function_name)
(generator_function_declaration name: (identifier) @function_name)
(function_expression name: (identifier) @function_name)
(method_definition name: (property_identifier) @function_name)
((method_definition name: (private_property_identifier) @function_name) (#set! content "#(.+)"))
(variable_declarator name: (identifier) @function_name value: [(arrow_function) (function_expression)])
(assignment_expression
  left: [(identifier) @function_name (member_expression property: (property_identifier) @function_name)]
  right: [(arrow_function) (function_expression)])
(pair key: (property_identifier) @function_name value: [(arrow_function) (function_expression)])
(class_body (_ (property_identifier) @function_name value: [(arrow_function) (function_expression)]))

; Functions that have a name.
[(function_declaration) (generator_function_declaration) (method_definition)] @_function
(function_expression name: (_)) @_function
(variable_declarator value: [(arrow_function) (function_expression)]) @_function
(assignment_expression right: [(arrow_function) (function_expression)]) @_function
(pair value: [(arrow_function) (function_expression)]) @_function
(class_body (_ value: [(arrow_function) (function_expression)]) @_function)

[(comment) (html_comment) (hash_bang_line)] @_comment
(string_fragment) @_text
((jsx_text) @_text (#match? @_text "\\S"))
(ERROR) @_excluded

; What the roles of heads look at. Of what is declared, names count.
["(" "[" "{" "${"] @_opening_bracket
(arguments) @_arguments
[
  (variable_declarator name: (identifier) @_declared)
  (variable_declarator name: (object_pattern (shorthand_property_identifier_pattern) @_declared))
  (variable_declarator name: (array_pattern (identifier) @_declared))
  (function_declaration name: (identifier) @_declared)
  (generator_function_declaration name: (identifier) @_declared)
  (function_expression name: (identifier) @_declared)
  (arrow_function parameter: (identifier) @_declared)
  (catch_clause parameter: (identifier) @_declared)
  (for_in_statement left: (identifier) @_declared)
  (method_definition name: (property_identifier) @_declared)
  (class_declaration name: (_) @_declared)
  (formal_parameters (_) @_declared)
  (assignment_pattern left: (identifier) @_declared)
  (import_specifier !alias name: (identifier) @_declared)
  (import_specifier alias: (identifier) @_declared)
]
