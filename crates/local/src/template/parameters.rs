//! The values of a template's parameters, checked as CloudFormation checks them.
//!
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::Value;

use super::yaml::{entries, text};
use crate::error::Error;

/// Parses values of parameters, as in `AuthType=API_KEY RateLimit=5`. If a parameter has several
/// values, the last counts.
///
/// # Errors
/// [`Error::Parameter`] if a word does not have this form.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let values = text
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            _ if word.contains(['\'', '"']) => Err(Error::Parameter(format!(
                "a parameter cannot contain quotes: {word}"
            ))),
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Error::Parameter(format!(
                "'{word}' is not a parameter: write PARAMS='Name=Value Name=Value'"
            ))),
        });
    values.collect()
}

/// Returns the value of each parameter that has one, which is the given value or the default.
pub(super) fn values(
    parameters: Option<&Value>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut values: BTreeMap<_, _> = entries(parameters)
        .filter_map(|(name, parameter)| Some((name.clone(), text(parameter.get("Default")?)?)))
        .collect();
    for (name, value) in given {
        let Some(parameter) = parameters.and_then(|parameters| parameters.get(name)) else {
            let known: Vec<_> = entries(parameters).map(|(name, _)| name.as_str()).collect();
            return Err(Error::Parameter(format!(
                "template.yaml has no parameter '{name}'. It has: {}",
                known.join(", ")
            )));
        };
        if let Some(problem) = problem(parameter, value) {
            return Err(Error::ParameterValue {
                name: name.clone(),
                value: value.clone(),
                problem,
            });
        }
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

/// Returns why CloudFormation would reject a value, if it would.
fn problem(parameter: &Value, value: &str) -> Option<String> {
    let property = |name: &str| text(parameter.get(name)?);
    let limit = |name: &str| property(name)?.parse::<f64>().ok();
    if property("Type").as_deref() == Some("Number") {
        let Ok(number) = value.parse::<f64>() else {
            return Some("it must be a number".into());
        };
        if let Some(least) = limit("MinValue").filter(|least| number < *least) {
            return Some(format!("it must be at least {least}"));
        }
        if let Some(most) = limit("MaxValue").filter(|most| number > *most) {
            return Some(format!("it must be at most {most}"));
        }
    }
    if let Some(allowed) = parameter.get("AllowedValues").and_then(Value::as_array) {
        let allowed: Vec<_> = allowed.iter().filter_map(text).collect();
        if !allowed.iter().any(|allowed| allowed == value) {
            return Some(format!("it must be one of {}", allowed.join(", ")));
        }
    }
    let length = value.chars().count();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a command line is shorter than 2^52"
    )]
    let length = length as f64;
    if let Some(most) = limit("MaxLength").filter(|most| length > *most) {
        return Some(format!("it must have at most {most} characters"));
    }
    let pattern = property("AllowedPattern")?;
    let matches = Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value));
    let description =
        || property("ConstraintDescription").unwrap_or_else(|| format!("it must match {pattern}"));
    (!matches).then(description)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_pairs_of_name_and_value_and_the_last_counts() {
        let values = parse(" A=1  B=x=y C= A=2 ").expect("the values are well-formed");
        let expected = [("A", "2"), ("B", "x=y"), ("C", "")];
        assert_eq!(
            values,
            expected
                .map(|(name, value)| (name.into(), value.into()))
                .into()
        );
        for text in ["A", "=1", "A='1'", "A=\"1\""] {
            parse(text).expect_err(text);
        }
    }

    #[test]
    fn a_value_that_cloudformation_would_reject_is_rejected() {
        let parameters = json!({
            "Kind": {"Type": "String", "AllowedValues": ["A", "B", 1], "Default": "A"},
            "Origin": {"Type": "String", "AllowedPattern": "|https?://[^\\s/']+", "MaxLength": 12},
            "Rate": {"Type": "Number", "MinValue": 1, "MaxValue": 10, "Default": 5},
        });
        let values = |name: &str, value: &str| {
            values(
                Some(&parameters),
                &[(name.to_owned(), value.to_owned())].into(),
            )
        };
        for (name, value) in [
            ("Kind", "B"),
            ("Kind", "1"),
            ("Origin", ""),
            ("Origin", "http://a"),
            ("Rate", "10"),
            ("Rate", "2.5"),
        ] {
            let values = values(name, value).expect("the value is allowed");
            assert_eq!(values[name], value);
            assert_eq!(
                values.get("Rate").map(String::as_str),
                Some(if name == "Rate" { value } else { "5" })
            );
        }
        for (name, value, problem) in [
            ("Kid", "A", "no parameter 'Kid'. It has: Kind, Origin, Rate"),
            ("Kind", "C", "it must be one of A, B, 1"),
            ("Kind", "", "it must be one of A, B, 1"),
            ("Origin", "http://a/", "it must match"),
            ("Origin", "xhttp://a", "it must match"),
            ("Origin", "http://abcdef", "at most 12 characters"),
            ("Rate", "fast", "it must be a number"),
            ("Rate", "0", "it must be at least 1"),
            ("Rate", "11", "it must be at most 10"),
        ] {
            let error = values(name, value).expect_err(value).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
