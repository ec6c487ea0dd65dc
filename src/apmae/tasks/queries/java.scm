; Java's holes. A capture is a task; `content` narrows a hole to group 1 of a regular expression that
; has to match the whole node (dot matches line breaks too), and a node that it does not match has no
; hole. Captures with a leading underscore are no tasks: they mark text for apmae.tasks.spans.

; Names of variables, methods, fields, declared types and labels. Uses of types are type_identifier.
(identifier) @identifiers

; What is between the quotes of a string, a text block or a character. A text block's content starts
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

; Arithmetic, signs and string concatenation; not ++ and --, not shifts and bits.
(binary_expression operator: ["+" "-" "*" "/" "%"] @mathematical_operators)
(unary_expression operator: ["+" "-"] @mathematical_operators)

; Assignments, plain and compound, and initialisers of variables.
(assignment_expression
  operator: ["=" "+=" "-=" "*=" "/=" "%=" "&=" "|=" "^=" "<<=" ">>=" ">>>="] @assignment_operators)
(variable_declarator "=" @assignment_operators)

[")" "]" "}"] @closing_bracket

; No line that ends in a comment has an `eol` hole, and no line break within a text block is one.
[(line_comment) (block_comment)] @_comment
(string_literal) @_text

; Nothing that the parser did not understand is a hole.
(ERROR) @_error
