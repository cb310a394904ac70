//! Any JSON that goes in comes out equal.

use proptest::prelude::*;
use tests::oracle::json::{Json, value};
use tests::repository;
use users_core::{Key, User};

#[test]
fn members_with_private_names_of_json_libraries_are_kept() {
    let json = concat!(
        r#"{"a":{"$serde_json::private::Number":"1.5"},"#,
        r#""b":{"$serde_json::private::RawValue":"[1]"},"id":"1"}"#
    );
    let user = User::from_json(json).expect("a user");
    assert_eq!(serde_json::to_string(&user).expect("a user is JSON"), json);
}

/// Objects with a few members, which are often malformed.
const NEARLY_A_USER: &str = concat!(
    r#"\{("(id|email|a)?":"#,
    r#"([\[{"]{0,40}|-?[0-9.eE+-]{1,50}|"\\u[dD][89a-f][0-9]{2}"),?){0,3}\}?"#
);

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(repository::regressions()),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_user_comes_back_equal(value in value(), id in "\\PC{1,40}") {
        let json = format!("{{\"value\": {value}}}");
        let user = User::from_json_with_id(&json, Key::new(&id).expect("a key")).expect("a user");
        let back = serde_json::to_string(&user).expect("a user is JSON");
        let members = [("id", Json::String(id)), ("value", Json::parse(&value).expect("JSON"))];
        let expected = members.map(|(name, value)| (name.to_owned(), value)).into();
        prop_assert_eq!(Json::parse(&back), Some(Json::Object(expected)));
    }

    #[test]
    fn a_second_round_trip_changes_nothing(value in value()) {
        let json = |text: &str| {
            let user = User::from_json(text).expect("a user");
            serde_json::to_string(&user).expect("a user is JSON")
        };
        let once = json(&format!("{{\"id\": \"1\", \"value\": {value}}}"));
        let twice = json(&once);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn text_that_is_nearly_a_user_is_a_user_or_rejected(text in NEARLY_A_USER) {
        let is_json = Json::parse(&text).is_some();
        match User::from_json(&text) {
            Ok(user) => {
                prop_assert!(is_json);
                prop_assert!(user.to_json().is_ok_and(|json| Json::parse(&json).is_some()));
            }
            Err(error) => {
                prop_assert!(["InvalidRequest", "InvalidUser"].contains(&error.code()), "{error:?}");
            }
        }
    }
}
