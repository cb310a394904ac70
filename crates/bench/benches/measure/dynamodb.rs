//! The DynamoDB of cold starts and warm invocations.

use serde_json::{Value, json};
use tests::ScriptedResponse;

/// Responds at once, as for a table with one user, whatever is written to it.
pub(crate) fn one_user(operation: &str, _: &Value) -> ScriptedResponse {
    let user = json!({
        "id": {"S": "5f2c8a1e-7b3d-4c9f-8e6a-000000000001"},
        "email": {"S": "ada.lovelace.000001@example.com"},
        "name": {"S": "Ada Lovelace"},
        "age": {"N": "36"},
        "active": {"BOOL": true},
        "tags": {"L": [{"S": "mathematics"}, {"S": "poetry"}]},
        "address": {"M": {
            "street": {"S": "12 St James's Square"},
            "city": {"S": "London"},
            "zip": {"S": "SW1Y 4JH"},
        }},
    });
    let response = match operation {
        "GetItem" => json!({"Item": user}),
        "DeleteItem" => json!({"Attributes": user}),
        "Scan" | "Query" => json!({"Items": [user], "Count": 1, "ScannedCount": 1}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    };
    ScriptedResponse::Json(200, response)
}
