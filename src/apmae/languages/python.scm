; suffixes: .py
; grammar: tree_sitter_python.language
; comments: hash

; Python's holes; docs/languages.md says what a query may hold.

; Names of variables, functions, attributes, classes, parameters and modules; types are names too.
(identifier) @identifiers

; What is between the quotes of a string or bytes without interpolation. A content that starts with a
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

; Arithmetic, signs (of patterns too), and what strings and lists make of it; not shifts and bits.
["+" "-"] @mathematical_operators
(binary_operator operator: ["*" "/" "//" "%" "**" "@"] @mathematical_operators)

; Assignments, plain, compound and within expressions; not keyword arguments and defaults.
(assignment "=" @assignment_operators)
(augmented_assignment
  operator: ["+=" "-=" "*=" "/=" "//=" "%=" "**=" "@=" "&=" "|=" "^=" "<<=" ">>="] @assignment_operators)
(named_expression ":=" @assignment_operators)

[")" "]" "}"] @closing_bracket

; Reserved words, and contextual ones where they act as such; no values, no operators.
[
  "as" "assert" "async" "await" "break" "case" "class" "continue" "def" "del" "elif" "else" "except"
  "finally" "for" "from" "global" "if" "import" "lambda" "match" "nonlocal" "pass" "raise" "return" "try"
  "type" "while" "with" "yield"
] @keywords
(for_statement "in" @keywords)
(for_in_clause "in" @keywords)

; Classes that are called look like functions.
(call function: [(identifier) @function_call (attribute attribute: (identifier) @function_call)])

(function_definition name: (identifier) @function_name)

; A string that is a statement of its own is a docstring, or a comment by another name.
(comment) @_comment
(expression_statement . [(string) (concatenated_string)] .) @_comment
(string_content) @_text
(ERROR) @_excluded
