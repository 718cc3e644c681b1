//! PTX text to words and marks, each with its line.

use super::module::ParseError;

/// A word (a name, a number, a mnemonic with its dots), a mark, or a quoted string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The text itself.
    pub text: &'a str,
    /// Its line, from one.
    pub line: u32,
}

/// Splits `text`, dropping comments and the line tables of `-lineinfo`.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\n' => {
                line += 1;
                1
            }
            _ if first.is_ascii_whitespace() => 1,
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => {
                let len = rest.find("*/").ok_or_else(|| ParseError::new(line, "a comment that never ends"))? + 2;
                line += rest[..len].matches('\n').count() as u32;
                len
            }
            '"' => {
                let len = rest[1..].find('"').ok_or_else(|| ParseError::new(line, "a string that never ends"))? + 2;
                tokens.push(Token { text: &rest[..len], line });
                len
            }
            _ if is_word(first) => {
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if matches!(&rest[..len], ".loc" | ".file") {
                    rest.find('\n').unwrap_or(rest.len())
                } else {
                    tokens.push(Token { text: &rest[..len], line });
                    len
                }
            }
            '{' | '}' | '(' | ')' | '[' | ']' | '<' | '>' | ',' | ';' | ':' | '=' | '+' | '-' | '|' | '!' | '@' => {
                tokens.push(Token { text: &rest[..1], line });
                1
            }
            other => return Err(ParseError::new(line, format!("unexpected character `{other}`"))),
        };
        rest = &rest[len..];
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_dots_and_lines_count_through_comments() {
        let found = tokens("add.s32 %r1, /* a\nb */ %r2,-1; // end\nret;").unwrap();
        let words: Vec<_> = found.iter().map(|token| token.text).collect();
        assert_eq!(words, ["add.s32", "%r1", ",", "%r2", ",", "-", "1", ";", "ret", ";"]);
        assert_eq!(found.last().unwrap().line, 3);
    }
}
