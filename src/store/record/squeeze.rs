//! Texts that browsers and programs repeat, shortened by a fixed list of phrases. For user agents and claims.

use std::sync::LazyLock;

/// Each phrase stands for one byte from 0x80 on. Stores contain these bytes: new phrases come last.
const PHRASES: &[&str] = &[
    "Mozilla/5.0 (",
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "Macintosh; Intel Mac OS X 10.15",
    "X11; Linux x86_64",
    "X11; Ubuntu; Linux x86_64",
    "X11; CrOS x86_64 14541.0.0",
    "iPhone; CPU iPhone OS ",
    "iPad; CPU OS ",
    " like Mac OS X",
    "Linux; Android ",
    "Android ",
    "; Mobile",
    "; K",
    "; rv:",
    ") AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
    ") AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
    ") AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/",
    ".0.0.0 Safari/537.36",
    ".0.0.0 Mobile Safari/537.36",
    " Safari/605.1.15",
    " Mobile/15E148 Safari/604.1",
    ") Gecko/20100101 Firefox/",
    ") Gecko/",
    " Firefox/",
    " Edg/",
    " OPR/",
    ".0.0.0",
    "Dalvik/2.1.0 (Linux; U; Android ",
    " CFNetwork/",
    " Darwin/",
    "okhttp/",
    " Build/",
    "{\"",
    "\":\"",
    "\":[\"",
    "\":{\"",
    "\":",
    "\",\"",
    "\"],\"",
    "\"},\"",
    ",\"",
    "\"}",
    "\"]}",
    "true",
    "false",
    "tenant",
    "roles",
    "groups",
    "email",
    "name",
    "https://",
];

/// The first byte of a text that is stored as it is, because it has bytes that could be phrases.
const AS_IT_IS: u8 = 0xff;

/// The phrases, each with its byte, by their first character; the longest first.
static BY_FIRST: LazyLock<[Vec<(u8, &str)>; 128]> = LazyLock::new(|| {
    let mut by_first = [const { vec![] }; 128];
    for (byte, phrase) in (0x80..).zip(PHRASES) {
        by_first[usize::from(phrase.as_bytes()[0])].push((byte, *phrase));
    }
    by_first
        .iter_mut()
        .for_each(|phrases| phrases.sort_by_key(|(_, phrase)| std::cmp::Reverse(phrase.len())));
    by_first
});

pub(super) fn squeeze(text: &str) -> Vec<u8> {
    if !text.is_ascii() {
        return [&[AS_IT_IS], text.as_bytes()].concat();
    }
    let (mut squeezed, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(&first) = rest.as_bytes().first() {
        let found = BY_FIRST[usize::from(first)].iter().find(|(_, phrase)| rest.starts_with(*phrase));
        let (byte, length) = found.map_or((first, 1), |(byte, phrase)| (*byte, phrase.len()));
        squeezed.push(byte);
        rest = &rest[length..];
    }
    squeezed
}

/// The text; `None` for bytes that [`squeeze`] does not make.
pub(super) fn expand(squeezed: &[u8]) -> Option<Box<str>> {
    if let [AS_IT_IS, text @ ..] = squeezed {
        return std::str::from_utf8(text).ok().map(Into::into);
    }
    let mut text = String::with_capacity(4 * squeezed.len());
    for &byte in squeezed {
        match byte.checked_sub(0x80) {
            None => text.push(byte.into()),
            Some(phrase) => text.push_str(PHRASES.get(usize::from(phrase))?),
        }
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_expands_to_itself_and_that_of_a_browser_is_short() {
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                      Chrome/140.0.0.0 Safari/537.36";
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
                      like Gecko) Version/18.6 Mobile/15E148 Safari/604.1";
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let claims = r#"{"roles":["editor"],"tenant":"north"}"#;
        for (text, bytes_max) in
            [(chrome, 10), (safari, 20), (firefox, 16), (claims, 20), ("", 0), ("żółw", 8)]
        {
            let squeezed = squeeze(text);
            assert!(squeezed.len() <= bytes_max, "{text}: {squeezed:?}");
            assert_eq!(expand(&squeezed).as_deref(), Some(text));
        }
    }

    #[test]
    fn bytes_of_no_phrase_and_no_utf_8_are_no_text() {
        assert!(PHRASES.len() < usize::from(AS_IT_IS - 0x80));
        assert_eq!((expand(&[0xfe]), expand(&[AS_IT_IS, 0xc3])), (None, None));
    }
}
