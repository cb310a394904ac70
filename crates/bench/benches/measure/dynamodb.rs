//! Scripts of a server that stands in for DynamoDB.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{ScriptedResponse, one_item};

use crate::subject::{USER_BYTES, user};

/// The maximum size of the items that DynamoDB reads for one page, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html>).
const PAGE: usize = 1024 * 1024;

/// Responds at once, as if the table always held one user.
pub(crate) fn one_user(operation: &str, _: &Value) -> ScriptedResponse {
    ScriptedResponse::Json(200, one_item(operation, &attribute(&user(1))["M"]))
}

/// Returns a script that responds to scans as if the table held `count` users, and to other
/// requests as if it held one. Each response comes after `latency`. The key to continue from is a
/// page number.
pub(crate) fn users(
    count: usize,
    latency: Duration,
) -> impl FnMut(&str, &Value) -> ScriptedResponse + Send {
    let per_page = PAGE / USER_BYTES;
    let pages = |is_ids: bool| -> Vec<Vec<u8>> {
        let numbers: Vec<_> = (0..count).collect();
        let page = |(page, numbers): (usize, &[usize])| {
            let item = |number: &usize| {
                let user = user(*number);
                let item = if is_ids {
                    json!({"id": user["id"]})
                } else {
                    user
                };
                attribute(&item)["M"].take()
            };
            let items: Vec<_> = numbers.iter().map(item).collect();
            let mut body =
                json!({"Items": items, "Count": items.len(), "ScannedCount": items.len()});
            if (page + 1) * per_page < count {
                body["LastEvaluatedKey"] = json!({"id": {"S": (page + 1).to_string()}});
            }
            body.to_string().into_bytes()
        };
        numbers.chunks(per_page).enumerate().map(page).collect()
    };
    let (whole, ids) = (pages(false), pages(true));
    let user = attribute(&user(1))["M"].take();
    move |operation, request| {
        if operation != "Scan" {
            let body = one_item(operation, &user).to_string().into_bytes();
            return ScriptedResponse::Late(latency, body);
        }
        let pages = if request["ProjectionExpression"].is_null() {
            &whole
        } else {
            &ids
        };
        let page = request["ExclusiveStartKey"]["id"]["S"].as_str();
        let page = page.map_or(0, |page| page.parse().expect("a page number"));
        ScriptedResponse::Late(latency, pages[page].clone())
    }
}

/// Converts a value to DynamoDB's JSON.
fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(value) => json!({"N": value.to_string()}),
        Value::String(value) => json!({"S": value}),
        Value::Array(elements) => {
            json!({"L": elements.iter().map(attribute).collect::<Vec<_>>()})
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), attribute(value)));
            json!({"M": members.collect::<serde_json::Map<_, _>>()})
        }
    }
}
