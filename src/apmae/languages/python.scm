; suffixes: .py
; grammar: tree_sitter_python.language
; comments: hash

; Python's holes. docs/languages.md says what a query may hold.

; Names of variables, functions, attributes, classes, parameters and modules; types are names too.
(identifier) @identifiers

; The text between the quotes of a string or bytes without interpolation. Content that starts with a
; line break starts after it and the indentation.
((string . (string_start) . (string_content) @string_literals . (string_end))
  (#set! content "(?:\\s*\\\\?\\r?\\n\\s*(?=\\S))?([^\\r\\n].*)"))

[(true) (false)] @boolean_literals

[(integer) (float)] @numeric_literals

; Operators whose result is a boolean, or one of the operands. The `in` of a loop is another node's.
(boolean_operator operator: ["and" "or"] @boolean_operators)
(not_operator "not" @boolean_operators)
(comparison_operator
  operators: ["<" "<=" "==" "!=" ">=" ">" "in" "not in" "is" "is not"] @boolean_operators)

; Arithmetic, signs (also in patterns), and the same operators on strings and lists. Shifts and bitwise
; operators are left out.
["+" "-"] @mathematical_operators
(binary_operator operator: ["*" "/" "//" "%" "**" "@"] @mathematical_operators)

; Assignments: plain, compound and within expressions. Keyword arguments and defaults are left out.
(assignment "=" @assignment_operators)
(augmented_assignment
  operator: ["+=" "-=" "*=" "/=" "//=" "%=" "**=" "@=" "&=" "|=" "^=" "<<=" ">>="] @assignment_operators)
(named_expression ":=" @assignment_operators)

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones acting as such. Values and operators are left out.
[
  "as" "assert" "async" "await" "break" "case" "class" "continue" "def" "del" "elif" "else" "except"
  "finally" "for" "from" "global" "if" "import" "lambda" "match" "nonlocal" "pass" "raise" "return" "try"
  "type" "while" "with" "yield"
] @keywords
(for_statement "in" @keywords)
(for_in_clause "in" @keywords)

; Calls of classes look like function calls.
(call function: [(identifier) @function_call (attribute attribute: (identifier) @function_call)])

(function_definition name: (identifier) @function_name) @_function

; A string that is a statement of its own is a docstring or serves as a comment.
(comment) @_comment
(expression_statement . [(string) (concatenated_string)] .) @_comment
(string_content) @_text
(ERROR) @_excluded

; What the roles of heads look at.
["(" "[" "{"] @_opening_bracket
(argument_list) @_arguments
[
  (function_definition name: (identifier) @_declared)
  (class_definition name: (identifier) @_declared)
  (parameters (identifier) @_declared)
  (lambda_parameters (identifier) @_declared)
  (list_splat_pattern (identifier) @_declared)
  (dictionary_splat_pattern (identifier) @_declared)
  (default_parameter name: (identifier) @_declared)
  (typed_parameter . (identifier) @_declared)
  (typed_default_parameter name: (identifier) @_declared)
  (assignment left: (identifier) @_declared)
  (assignment left: (pattern_list (identifier) @_declared))
  (named_expression name: (identifier) @_declared)
  (for_statement left: (identifier) @_declared)
  (for_statement left: (pattern_list (identifier) @_declared))
  (for_in_clause left: (identifier) @_declared)
  (for_in_clause left: (pattern_list (identifier) @_declared))
  (as_pattern_target (identifier) @_declared)
  (aliased_import alias: (identifier) @_declared)
  (import_from_statement name: (dotted_name (identifier) @_declared))
]
