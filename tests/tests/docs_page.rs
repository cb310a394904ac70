//! The page on which people try out the API, in a browser that can reach only this machine.

use std::collections::BTreeMap;

use local::{Database, Options, Template};
use serde_json::{Value, json};
use tests::{Api, Browser, executables, repository};

/// Functions for the test's scripts, which do what a person does and wait for what a person sees.
const HELPERS: &str = r#"
    const operation = id => document.querySelector(`[id$="-${id}"]`);
    const seen = (what, look) => new Promise((resolve, reject) => {
        const end = setTimeout(() => reject(new Error(`${what} is not there`)), 60000);
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
    api.get("/users/ada%2F1").await.is(&ada);

    let grace = r#"{"id": "grace", "email": "grace@example.com"}"#;
    api.post("/users", grace).await.assert_ok();

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
    api.get("/users/ada%2F1").await.is(&replaced);

    let fields = [(&*id, "ada/1")];
    assert_eq!(
        execute(&mut browser, "deleteUser", &fields),
        (json!(200), replaced)
    );
    api.get("/users/ada%2F1").await.fails("UserNotFound");
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

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(chromium), ignore = "needs Chromium: apt-get install chromium")]
async fn the_page_shows_exact_numbers_pages_and_the_systems_theme() {
    let mut browser = Browser::start();
    let api = Api::local(Database::Memory).await;
    browser.call(
        "Emulation.setEmulatedMedia",
        &json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    );
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        &json!({"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true}),
    );
    browser.open(&api.service().docs_url());

    let user = r#"{"id":"1","n":12345678901234567890.5}"#;
    let script = format!(
        "{HELPERS} await open('createUser');
        await type('createUser', '{BODY}', {});
        return await execute('createUser');",
        Value::from(user)
    );
    let shown = browser.run(&script);
    let shown = shown[1].as_str().unwrap_or_default();
    assert!(shown.contains("12345678901234567890.5"), "{shown}");
    assert_eq!(api.get("/users/1").await.text, user);

    let samples = browser.run(&format!(
        "{HELPERS} document.querySelector('#samples button').click();
        return await seen('the result', () => document.querySelector('#samples output').textContent);"
    ));
    assert_eq!(samples, "Added 5; 0 existed already.");

    let script = format!(
        "{HELPERS} await open('listUsers'); await type('listUsers', '{}', '1');
        await execute('listUsers');
        (await seen('a next page', () => document.querySelector('.next-page'))).click();
        const cursor = operation('listUsers').querySelector('{}');
        await seen('the cursor', () => cursor.value);
        await seen('another request', () =>
            operation('listUsers').querySelector('.request-url').textContent.includes('cursor='));",
        parameter("limit"),
        parameter("cursor")
    );
    browser.run(&script);

    let page = browser.run(
        "return [document.documentElement.className, document.documentElement.scrollWidth,
        document.querySelectorAll('.auth-wrapper, .authorization__btn').length];",
    );
    assert_eq!(page, json!(["dark-mode", 390, 0]));

    let script = format!(
        "{HELPERS} let asked = 0; window.confirm = () => {{ asked += 1; return false; }};
        await open('deleteAllUsers');
        operation('deleteAllUsers').querySelector('.execute').click();
        return asked;"
    );
    assert_eq!(browser.run(&script), 1);
    let users = api.get("/users").await.json();
    assert_eq!(users.as_array().map(Vec::len), Some(6), "{users}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(chromium), ignore = "needs Chromium: apt-get install chromium")]
async fn the_page_sends_the_key_of_this_run() {
    let mut browser = Browser::start();
    let parameters = BTreeMap::from([("AuthType".to_owned(), "API_KEY".to_owned())]);
    let template = Template::read(&repository::path("template.yaml"), &parameters);
    let template = template.expect("the template");
    let api = Api::start(Options::new(template, executables().to_owned())).await;
    browser.open(&api.service().docs_url());
    assert_eq!(
        execute(&mut browser, "listUsers", &[]),
        (json!(200), json!([]))
    );
    api.stop().await;
}
