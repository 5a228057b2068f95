//! Texts of clients that others are shown: names, profiles, data. Each has one form, and none reaches beyond its own place on
//! a screen. Nothing is escaped: the gateway never renders.

use std::borrow::Cow;

use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::Refusal;
use crate::limits::{MARKS_MAX, TEXT_CHARS_MAX};

/// What a text is, which decides whether it may have lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One line: a name, or JSON, whose white space means nothing.
    Line,
    /// The application's: tabs, line feeds and carriage returns stay.
    Data,
    /// The same of an object, which nobody reads as a line of a chat: bounded in bytes alone.
    Field,
}

/// A text as others get it. Control characters (C0, DEL, C1) and those that turn the direction of text around (Unicode's
/// `Bidi_Control`) are dropped; the rest is brought into normal form C; of combining marks in a row eight stay. JSON stays
/// the JSON it was: it has no such characters but within strings, and there they are written as escapes (a mark right behind
/// `\n` is the exception: it belongs to no letter, and then gets the `n`).
///
/// # Errors
/// [`Refusal::Length`] if what is left has more than `bytes_max` bytes, or, but for a field, more than 500 characters.
pub fn clean(text: &str, kind: Kind, bytes_max: usize) -> Result<Cow<'_, str>, Refusal> {
    let cleaned = if is_plain(text) { Cow::Borrowed(text) } else { in_one_form(text, kind) };
    let chars_max = match kind {
        Kind::Line | Kind::Data => TEXT_CHARS_MAX,
        Kind::Field => usize::MAX,
    };
    let fits = cleaned.len() <= bytes_max && cleaned.chars().nth(chars_max).is_none();
    if fits { Ok(cleaned) } else { Err(Refusal::Length) }
}

/// Whether it is printable ASCII, as most are: then it is as it should be.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

fn in_one_form(text: &str, kind: Kind) -> Cow<'_, str> {
    let stays = |c: char| match c {
        '\t' | '\n' | '\r' => kind != Kind::Line,
        _ => !c.is_control() && !turns(c),
    };
    if text.chars().all(stays) && is_nfc(text) && marks(text.chars()).all(|row| row <= MARKS_MAX) {
        return Cow::Borrowed(text);
    }
    // In this order: what is dropped kept marks apart, and a row may be longer in normal form. What is left of a row in
    // normal form is in it as well.
    let formed: String = text.chars().filter(|c| stays(*c)).nfc().collect();
    let rows = marks(formed.chars());
    Cow::Owned(formed.chars().zip(rows).filter_map(|(c, row)| (row <= MARKS_MAX).then_some(c)).collect())
}

/// The characters with the property `Bidi_Control` (Unicode Standard Annex 9): they change how their neighbours are read.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For each character how many combining marks in a row end with it.
fn marks(chars: impl Iterator<Item = char>) -> impl Iterator<Item = usize> {
    chars.scan(0, |row, c| {
        *row = if is_combining_mark(c) { *row + 1 } else { 0 };
        Some(*row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ACT_DATA_BYTES_MAX, ACT_NAME_BYTES_MAX};
    use proptest::prelude::*;

    fn line(text: &str) -> Result<Cow<'_, str>, Refusal> {
        clean(text, Kind::Line, ACT_NAME_BYTES_MAX)
    }

    fn data(text: &str) -> Result<Cow<'_, str>, Refusal> {
        clean(text, Kind::Data, ACT_DATA_BYTES_MAX)
    }

    /// Characters of all kinds, the interesting ones often.
    fn some_char() -> impl Strategy<Value = char> {
        let odd = "\u{0}\t\n\r\u{7f}\u{85}\u{202e}\u{2066}\u{200f}e\u{301}\u{308}\u{344}\u{1100}\u{1161}\u{11a8}\u{9c6}\u{9be}\u{fdfa}\u{1d160}\u{fb2c}";
        prop_oneof![prop::sample::select(odd.chars().collect::<Vec<_>>()), any::<char>()]
    }

    proptest! {
        #[test]
        fn what_is_clean_stays_as_it_is(text in prop::collection::vec(some_char(), 0..60), is_line: bool) {
            let text: String = text.into_iter().collect();
            let kind = if is_line { Kind::Line } else { Kind::Data };
            let once = clean(&text, kind, usize::MAX).expect("short").into_owned();
            let twice = clean(&once, kind, usize::MAX).expect("short");
            prop_assert_eq!(&*twice, &*once);
            prop_assert!(matches!(twice, Cow::Borrowed(_)), "without a copy");
            prop_assert!(!once.chars().any(|c| turns(c) || (c.is_control() && (is_line || !"\t\n\r".contains(c)))));
        }

        #[test]
        fn json_is_the_same_json(text in prop::collection::vec(some_char(), 0..60), pretty: bool) {
            let mut text: String = text.into_iter().collect();
            // What is dropped within strings is dropped of their values too, and those have a normal form.
            text = clean(&text, Kind::Data, usize::MAX).expect("short").into_owned();
            let mut pairs = text.chars().zip(text.chars().skip(1));
            prop_assume!(!pairs.any(|(before, mark)| before.is_control() && is_combining_mark(mark)));
            let value = serde_json::json!({"text": text, "more": [1.5, null, true, {}]});
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let written = write(&value).expect("finite");
            for kind in [Kind::Line, Kind::Data] {
                let cleaned = clean(&written, kind, usize::MAX).expect("short");
                let read: serde_json::Value = serde_json::from_str(&cleaned).expect("JSON");
                prop_assert_eq!(&read, &value);
            }
        }
    }

    #[test]
    fn what_reaches_beyond_its_place_is_dropped() {
        assert_eq!(line("Ann\u{202e}nnA\u{202c}").as_deref(), Ok("AnnnnA"));
        assert_eq!(line("a\u{0}b\u{1b}[31mc\u{7f}d\u{9b}e").as_deref(), Ok("ab[31mcde"));
        assert_eq!(line("a\tb\r\nc").as_deref(), Ok("abc"));
        assert_eq!(data("a\tb\r\nc\u{0b}").as_deref(), Ok("a\tb\r\nc"));
        let tower = "z".to_owned() + &"\u{335}".repeat(30) + "a";
        assert_eq!(data(&tower), Ok(("z".to_owned() + &"\u{335}".repeat(MARKS_MAX) + "a").into()));
        assert_eq!(line("\u{202e}").as_deref(), Ok(""));
    }

    #[test]
    fn the_same_text_has_the_same_bytes() {
        assert_eq!(line("e\u{301}").as_deref(), Ok("é"));
        assert_eq!(line("\u{212b}").as_deref(), Ok("Å"), "the sign for the unit is the letter");
        assert_eq!(line("e\u{0}\u{301}").as_deref(), Ok("é"), "what stood between them is gone");
        assert_eq!(line("\u{1100}\u{1161}\u{11a8}").as_deref(), Ok("각"));
        assert_eq!(line("ﬁ").as_deref(), Ok("ﬁ"), "compatible is not the same");
        let family = "👩\u{200d}👩\u{200d}👧\u{fe0f}";
        assert_eq!(line(family).as_deref(), Ok(family));
    }

    #[test]
    fn length_counts_what_is_left() {
        assert!(line(&"é".repeat(16)).is_ok());
        assert_eq!(line(&"é".repeat(17)), Err(Refusal::Length));
        assert!(line(&("x".repeat(32) + &"\u{0}".repeat(100))).is_ok());
        assert!(data(&"x".repeat(TEXT_CHARS_MAX)).is_ok());
        assert_eq!(data(&"x".repeat(TEXT_CHARS_MAX + 1)), Err(Refusal::Length));
        assert!(data(&"😀".repeat(TEXT_CHARS_MAX)).is_ok(), "500 of any script");
        // Three times as long in normal form.
        assert_eq!(clean(&"\u{fb2c}".repeat(10), Kind::Data, 50), Err(Refusal::Length));
    }
}
