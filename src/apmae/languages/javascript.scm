; suffixes: .js .mjs .cjs .jsx
; grammar: tree_sitter_javascript.language

; JavaScript's holes; docs/languages.md says what a query may hold. TypeScript's are these and some more,
; so what stands here has to suit its grammar too.

; Names of variables, functions, properties, classes and labels.
[
  (identifier)
  (property_identifier)
  (shorthand_property_identifier)
  (shorthand_property_identifier_pattern)
  (statement_identifier)
] @identifiers
((private_property_identifier) @identifiers (#set! content "#(.+)"))

; What is between the quotes of a string, and in a template without substitutions. A template that starts
; with a line break starts after it and the indentation.
((string) @string_literals (#set! content "['\"](.+)['\"]"))
((template_string) @string_literals
  (#set! content "`(?:\\s*\\n\\s*(?=\\S))?((?![\\r\\n])(?:[^$\\\\]|\\\\.|\\$(?!\\{))+)`"))

[(true) (false)] @boolean_literals

(number) @numeric_literals

; Operators whose result is a boolean, or one of the operands.
(binary_expression operator: ["&&" "||" "==" "===" "!=" "!==" "<" ">" "<=" ">="] @boolean_operators)
(unary_expression operator: "!" @boolean_operators)

; Arithmetic, signs and string concatenation; not ++ and --, not shifts and bits.
(binary_expression operator: ["+" "-" "*" "/" "%" "**"] @mathematical_operators)
(unary_expression operator: ["+" "-"] @mathematical_operators)

; Assignments, plain and compound, and initialisers of variables and fields; not defaults.
(assignment_expression "=" @assignment_operators)
(augmented_assignment_expression
  operator: [
    "+=" "-=" "*=" "/=" "%=" "**=" "&=" "|=" "^=" "<<=" ">>=" ">>>=" "&&=" "||=" "??="
  ] @assignment_operators)
(variable_declarator "=" @assignment_operators)
(class_body (_ "=" @assignment_operators))

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones where they act as such; no values.
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

; Where a function is declared, or given to a name.
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

[(comment) (html_comment) (hash_bang_line)] @_comment
(string_fragment) @_text
((jsx_text) @_text (#match? @_text "\\S"))
(ERROR) @_excluded
