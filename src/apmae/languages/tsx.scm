; suffixes: .tsx
; grammar: tree_sitter_typescript.language_tsx
; inherits: typescript
