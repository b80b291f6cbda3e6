//! Rust source as tokens: enough to find paths and keywords, and blind to comments and strings.

/// A word or a sign of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    /// An identifier, keyword, number, `::`, or one sign. A string or character literal is `""`.
    pub(super) text: &'s str,
    /// Its line, from 1.
    pub(super) line: u32,
}

/// Splits source into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (len, literal) = extent(rest, first);
        let (text, behind) = rest.split_at(len);
        if literal {
            tokens.push(Token { text: "\"\"", line });
        } else if !first.is_whitespace() && !text.starts_with("//") && !text.starts_with("/*") {
            tokens.push(Token { text, line });
        }
        line += u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX);
        rest = behind;
    }
    tokens
}

/// Bytes of the first token of `rest` (or of blanks, or of a comment), and whether it is a literal
/// with quotes.
fn extent(rest: &str, first: char) -> (usize, bool) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let words = |text: &str| text.find(|c| !word(c)).unwrap_or(text.len());
    if first.is_whitespace() {
        (rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()), false)
    } else if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), false)
    } else if rest.starts_with("/*") {
        (comment(rest), false)
    } else if rest.starts_with("::") {
        (2, false)
    } else if first == '"' {
        (quoted(rest, '"'), true)
    } else if first == '\'' {
        let mut chars = rest[1..].chars();
        let (one, two) = (chars.next(), chars.next());
        if one == Some('\\') || two == Some('\'') {
            (quoted(rest, '\''), true)
        } else {
            (1 + words(&rest[1..]), false)
        }
    } else if word(first) {
        let len = words(rest);
        let (name, behind) = rest.split_at(len);
        let hashes = behind.find(|c| c != '#').unwrap_or(behind.len());
        match name {
            "r" | "br" | "cr" if behind[hashes..].starts_with('"') => {
                let end = format!("\"{}", "#".repeat(hashes));
                let body = len + hashes + 1;
                (rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()), true)
            }
            "b" | "c" if behind.starts_with('"') => (len + quoted(behind, '"'), true),
            "b" if behind.starts_with('\'') => (len + quoted(behind, '\''), true),
            _ => (len, false),
        }
    } else {
        (first.len_utf8(), false)
    }
}

fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

/// Source without what only tests see: items under `#[cfg(test)]`. Names of the modules in files of
/// their own that fall away with it are the second value.
pub(super) fn without_tests<'s>(tokens: &[Token<'s>]) -> (Vec<Token<'s>>, Vec<&'s str>) {
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = attribute(tokens, at)
            && for_tests(&tokens[at..end])
        {
            let item = item(tokens, end);
            if let [.., Token { text: "mod", .. }, name, Token { text: ";", .. }] =
                &tokens[end..item]
            {
                modules.push(name.text);
            }
            at = item;
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    (kept, modules)
}

fn is(tokens: &[Token<'_>], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

/// The end of the attribute that starts at `at`, if one does.
fn attribute(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    (is(tokens, at, "#") && is(tokens, at + 1, "[")).then(|| block(tokens, at + 1))
}

/// Whether an attribute is `cfg(test)` or `cfg(all(test, ..))`: what `not` or `any` does with
/// `test` leaves the item in other builds.
fn for_tests(attribute: &[Token<'_>]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text).collect();
    matches!(&words[..], ["#", "[", "cfg", "(", "test", ")", "]"])
        || (words.starts_with(&["#", "[", "cfg", "(", "all", "("])
            && words.contains(&"test")
            && !words.contains(&"not")
            && !words.contains(&"any"))
}

/// The place behind the bracket that closes the one at `at`.
pub(super) fn block(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_u32;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The place behind the item at `at`, its further attributes included.
fn item(tokens: &[Token<'_>], mut at: usize) -> usize {
    while let Some(end) = attribute(tokens, at) {
        at = end;
    }
    // Items of these kinds end with `;` whatever braces they hold.
    let mut value = false;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "use" | "static" | "type" | "extern" => value = true,
            "const" if !is(tokens, at + 1, "fn") => value = true,
            "fn" | "impl" | "mod" | "trait" => value = false,
            ";" => return at + 1,
            "{" if !value => return block(tokens, at),
            "(" | "[" | "{" => {
                at = block(tokens, at);
                continue;
            }
            // The last field or variant of a list may carry the attribute too.
            "," => return at + 1,
            ")" | "]" | "}" => return at,
            _ => {}
        }
        at += 1;
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_hold_no_tokens() {
        assert_eq!(texts("a // std::b\n/* x /* y */ z */ c"), ["a", "c"]);
        assert_eq!(texts(r#"f("std:: \" x", 'y', '\'', b'z')"#).concat(), r#"f("","","","")"#);
        assert_eq!(texts("r#\"a \"std\" b\"# d"), ["\"\"", "d"]);
        assert_eq!(texts("&'a str"), ["&", "'a", "str"]);
        assert_eq!(texts("crate::wire::x"), ["crate", "::", "wire", "::", "x"]);
        assert_eq!(texts("\"never closed"), ["\"\""]);
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let source = "/*\n\n*/ \"a\nb\"\nlast";
        assert_eq!(tokens(source).last(), Some(&Token { text: "last", line: 5 }));
    }

    #[test]
    fn what_only_tests_see_falls_away() {
        let source = "
            fn a() {}
            #[cfg(test)] extern crate std;
            #[cfg(test)] #[allow(x)] mod tests { fn b() { { } } }
            #[cfg(test)] mod model;
            #[cfg(all(test, feature = \"f\"))] const C: T = T { d: 1 };
            #[cfg(test)] pub(crate) use e::{f, g};
            #[cfg(not(test))] fn h() {}
            #[cfg(test)] fn i<T>(t: (T,)) -> T { t }
            fn z() {}";
        let all = tokens(source);
        let (kept, modules) = without_tests(&all);
        let kept: Vec<&str> = kept.iter().map(|token| token.text).collect();
        assert_eq!(kept.concat(), "fna(){}#[cfg(not(test))]fnh(){}fnz(){}");
        assert_eq!(modules, ["model"]);
    }
}
