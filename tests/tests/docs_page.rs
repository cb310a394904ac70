//! The page on which people try out the API, in a browser that can reach only this machine.

use local::Database;
use serde_json::{Value, json};
use tests::{Api, Browser};

/// Functions for the test's scripts, which do what a person does and wait for what a person sees.
const HELPERS: &str = r#"
    const operation = id => document.querySelector(`[id$="-${id}"]`);
    const seen = (what, look) => new Promise((resolve, reject) => {
        const end = setTimeout(() => reject(new Error(`${what} is not there`)), 20000);
        const watch = () => {
            const found = look();
            if (found) { clearTimeout(end); resolve(found); } else requestAnimationFrame(watch);
        };
        watch();
    });
    // React notices an input event only if the value was set without React's own setter.
    const type = async (id, selector, text) => {
        const field = await seen(selector, () => operation(id).querySelector(selector));
        const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value");
        set.call(field, text);
        field.dispatchEvent(new Event("input", { bubbles: true }));
        // Until the field loses focus, the page waits for more input.
        field.dispatchEvent(new FocusEvent("focusout", { bubbles: true }));
    };
    const open = async id => {
        (await seen(id, () => operation(id))).querySelector(".opblock-summary-control").click();
        return seen(`the button of ${id}`, () => operation(id).querySelector(".execute"));
    };
    const execute = async id => {
        operation(id).querySelector(".execute").click();
        const live = await seen(`the response to ${id}`, () =>
            operation(id).querySelector(".live-responses-table tbody .response-col_status"));
        const table = operation(id).querySelector(".live-responses-table");
        return [parseInt(live.textContent), table.querySelector("pre.microlight, pre").textContent];
    };
"#;

/// The selector of the field for a request's body.
const BODY: &str = "textarea.body-param__text";

/// Returns the selector of the field for a parameter.
fn parameter(name: &str) -> String {
    format!("tr[data-param-name={name}] input")
}

/// Opens an operation on the page, types text into these fields and executes the operation. Returns
/// the status and the body that the page shows.
fn execute(browser: &mut Browser, operation: &str, fields: &[(&str, &str)]) -> (Value, Value) {
    let typed: Vec<_> = fields
        .iter()
        .map(|(field, text)| {
            format!(
                "await type('{operation}', '{field}', {});",
                Value::from(*text)
            )
        })
        .collect();
    let typed = typed.concat();
    let script = format!(
        "{HELPERS} await open('{operation}'); {typed} return await execute('{operation}');"
    );
    let shown = browser.run(&script);
    let body = serde_json::from_str(shown[1].as_str().unwrap_or_default());
    (
        shown[0].clone(),
        body.unwrap_or_else(|error| panic!("{error}: {shown}")),
    )
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(chromium), ignore = "needs Chromium: apt-get install chromium")]
async fn a_user_is_created_found_replaced_and_deleted_on_the_page() {
    let mut browser = Browser::start();
    let api = Api::local(Database::Memory).await;
    let docs = api.service().docs_url();
    let origin = docs.trim_end_matches("docs").to_owned();
    browser.open(&docs);

    let ada = json!({"id": "ada/1", "email": "ada+1@example.com", "name": "Ada"});
    let fields = [(BODY, &*ada.to_string())];
    assert_eq!(
        execute(&mut browser, "createUser", &fields),
        (json!(200), ada.clone())
    );
    api.get("/users/ada%2F1").await.assert_is(200, &ada);

    let grace = r#"{"id": "grace", "email": "grace@example.com"}"#;
    assert_eq!(api.post("/users", grace).await.status, 200);

    let (email, id) = (parameter("email"), parameter("id"));
    let fields = [(&*email, "ada+1@example.com")];
    assert_eq!(
        execute(&mut browser, "listUsers", &fields),
        (json!(200), json!([ada]))
    );

    let replacement = json!({"email": "ada+1@example.com", "title": "Countess"}).to_string();
    let replaced = json!({"email": "ada+1@example.com", "id": "ada/1", "title": "Countess"});
    let fields = [(&*id, "ada/1"), (BODY, &replacement)];
    assert_eq!(
        execute(&mut browser, "replaceUser", &fields),
        (json!(200), replaced.clone())
    );
    api.get("/users/ada%2F1").await.assert_is(200, &replaced);

    let fields = [(&*id, "ada/1")];
    assert_eq!(
        execute(&mut browser, "deleteUser", &fields),
        (json!(200), replaced)
    );
    api.get("/users/ada%2F1")
        .await
        .assert_error(400, "UserNotFound");
    let (status, error) = execute(&mut browser, "getUser", &fields);
    assert_eq!(
        (status, &error["code"]),
        (json!(400), &json!("UserNotFound"))
    );

    for request in browser.events("Network.requestWillBeSent") {
        let url = request["request"]["url"].as_str().expect("a URL");
        assert!(
            url.starts_with(&origin) || url.starts_with("data:"),
            "{url}"
        );
    }
    // The browser logs each error response, and one response was an error.
    let complaints: Vec<_> = browser
        .events("Log.entryAdded")
        .into_iter()
        .filter(|entry| {
            entry["entry"]["source"] != "network"
                || !entry["entry"]["url"]
                    .as_str()
                    .is_some_and(|url| url.ends_with("/ada%2F1"))
        })
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    for kind in ["Runtime.exceptionThrown", "Runtime.consoleAPICalled"] {
        let complaints: Vec<_> = browser
            .events(kind)
            .into_iter()
            .filter(|event| event["type"] != "log" && event["type"] != "debug")
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    api.stop().await;
}
