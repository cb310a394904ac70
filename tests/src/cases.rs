//! How many cases a suite tries.

use std::env;

/// Returns the number in the environment variable `CASES`, or this one if it is unset or blank.
pub fn cases(default: u32) -> u32 {
    let text = env::var("CASES").unwrap_or_default();
    parse(&text, default).unwrap_or_else(|| panic!("CASES={text} is not a number above 0"))
}

fn parse(text: &str, default: u32) -> Option<u32> {
    match text.trim() {
        "" => Some(default),
        number => number.parse().ok().filter(|cases| *cases > 0),
    }
}

#[test]
fn a_number_of_cases_is_positive() {
    for (text, cases) in [
        ("", Some(5)),
        (" ", Some(5)),
        ("7", Some(7)),
        ("0", None),
        ("-1", None),
        ("abc", None),
    ] {
        assert_eq!(parse(text, 5), cases, "'{text}'");
    }
}
