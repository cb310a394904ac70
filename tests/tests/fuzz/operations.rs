//! Sequences of operations, whose responses and stored users are compared with a model of the
//! contract.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use lambda_http::http::Method;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseError;
use tests::oracle::json::Json;
use tests::oracle::model::{self, Codes, Members, Model, PathId};
use tests::{Api, Reply, Table, engine, operations, percent_encoded};
use tokio::runtime::Runtime;
use uuid::{Uuid, Variant};

use crate::bodies::{body, email, path_id};
use crate::changes::{ByteChange, byte_change, change_byte};
use crate::meter::Meter;
use crate::{assert_first_processes, cases, fuzz};

/// The number of services, each with a thread that uses it.
const THREADS: usize = 2;

/// How many operations a sequence has, and a lower bound of how many it has on average.
const LENGTHS: RangeInclusive<usize> = 1..=29;
const LENGTH: u32 = 14;

#[derive(Clone, Debug)]
enum Operation {
    Post(String),
    Put(PathId, String),
    Get(PathId),
    Delete(PathId),
    List(Query),
    /// Follows the link of the last page that had one.
    Next,
    /// With this text after the path `/users`.
    DeleteAll(&'static str),
}

#[derive(Clone, Debug)]
struct Query {
    emails: Vec<String>,
    limit: Option<String>,
    cursor: Cursor,
    has_unknown: bool,
}

#[derive(Clone, Debug)]
enum Cursor {
    None,
    /// The cursor of the last page that had one, perhaps of another list.
    Last,
    Changed((Index, ByteChange)),
    Text(String),
}

fn query() -> impl Strategy<Value = Query> {
    let limits = ["0", "1000", "1001"];
    let malformed = [
        "-1",
        "+1",
        "1.0",
        "1e1",
        "x",
        "",
        " 1",
        "99999999999999999999",
    ];
    let limit = prop_oneof![
        8 => (1..5_usize).prop_map(|limit| limit.to_string()),
        2 => select(limits.to_vec()).prop_map(str::to_owned),
        1 => select(malformed.to_vec()).prop_map(str::to_owned),
    ];
    let texts = [
        "", "=", "MQ==", "M", "MR", "MQ", "_w", "4pyT", "a b", "é", "MQ+/",
    ];
    let cursor = prop_oneof![
        12 => Just(Cursor::None),
        3 => Just(Cursor::Last),
        2 => byte_change().prop_map(Cursor::Changed),
        1 => select(texts.to_vec()).prop_map(|text| Cursor::Text(text.to_owned())),
        1 => (2729..2734_usize).prop_map(|length| Cursor::Text("e".repeat(length))),
    ];
    let emails = vec(prop_oneof![5 => email(), 1 => Just(String::new())], 0..3);
    (emails, option::weighted(0.7, limit), cursor, any::<bool>()).prop_map(
        |(emails, limit, cursor, has_unknown)| Query {
            emails,
            limit,
            cursor,
            has_unknown,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => body().prop_map(Operation::Post),
        4 => (path_id(), body()).prop_map(|(id, body)| Operation::Put(id, body)),
        3 => path_id().prop_map(Operation::Get),
        3 => path_id().prop_map(Operation::Delete),
        5 => query().prop_map(Operation::List),
        4 => Just(Operation::Next),
        1 => select(&["", "/", "?email=a@b", "?x", "/?limit=1"][..]).prop_map(Operation::DeleteAll),
    ]
}

/// A client with a service to itself, and the model of that service.
struct Client<'a> {
    runtime: &'a Runtime,
    api: &'a Api,
    model: Model,
    /// The list that is being read page by page.
    walk: Option<Walk>,
}

struct Walk {
    url: String,
    email: Option<String>,
    seen: BTreeSet<String>,
    /// Users that have been in the list since its first page, and must still be listed.
    owed: BTreeSet<String>,
}

impl Client<'_> {
    fn send(&self, method: Method, path: &str, body: &str) -> Reply {
        self.runtime.block_on(self.api.send(method, path, body))
    }

    /// Performs an operation, and compares the response with the model's.
    fn perform(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Post(body) => self.post(body)?,
            Operation::Put(id, body) => {
                let reply = self.send(Method::PUT, &path(id), body);
                compare(&reply, self.model.put(id, body))?;
            }
            Operation::Get(id) => {
                let reply = self.send(Method::GET, &path(id), "");
                compare(&reply, self.model.get(id))?;
            }
            Operation::Delete(id) => {
                let reply = self.send(Method::DELETE, &path(id), "");
                compare(&reply, self.model.delete(id))?;
            }
            Operation::DeleteAll(suffix) => {
                let reply = self.send(Method::DELETE, &format!("/users{suffix}"), "");
                compare(&reply, self.model.delete_all(suffix))?;
            }
            Operation::List(query) => self.list(query)?,
            Operation::Next => self.next()?,
        }
        if let Some(Walk { email, owed, .. }) = &mut self.walk {
            owed.retain(|id| self.model.is_listed(id, email.as_deref()));
        }
        Ok(())
    }

    fn post(&mut self, body: &str) -> Result<(), TestCaseError> {
        let reply = self.send(Method::POST, "/users", body);
        let expected = self.model.post(body);
        let created = json(&reply);
        let expected = match (expected, &created) {
            // The service chooses the random id.
            (Ok(mut user), Json::Object(created)) if !user.contains_key("id") => {
                let id = created.get("id").cloned().unwrap_or(Json::Null);
                prop_assert!(is_random_uuid(&id), "{}", reply.text);
                user.insert("id".to_owned(), id.clone());
                if let Json::String(id) = id {
                    let before = self.model.0.insert(id, Json::Object(user.clone()));
                    prop_assert!(before.is_none(), "{}", reply.text);
                }
                Ok(user)
            }
            (expected, _) => expected,
        };
        compare(&reply, expected.map(Json::Object))
    }

    fn list(&mut self, query: &Query) -> Result<(), TestCaseError> {
        let last = self
            .walk
            .as_ref()
            .and_then(|walk| walk.url.rsplit_once("cursor="));
        let last = last.map(|(_, cursor)| cursor.to_owned());
        let cursor = match (&query.cursor, last) {
            (Cursor::None, _) | (Cursor::Last | Cursor::Changed(_), None) => None,
            (Cursor::Last, last) => last,
            (Cursor::Changed((place, change)), Some(last)) => {
                let mut cursor = last.into_bytes();
                change_byte(&mut cursor, *place, change);
                Some(String::from_utf8_lossy(&cursor).into_owned())
            }
            (Cursor::Text(text), _) => Some(text.clone()),
        };
        let emails = query.emails.iter();
        let mut sent: Vec<_> = emails
            .map(|email| ("email".to_owned(), email.clone()))
            .collect();
        sent.extend(query.limit.clone().map(|limit| ("limit".to_owned(), limit)));
        sent.extend(
            query
                .has_unknown
                .then(|| ("x y".to_owned(), "ü&=".to_owned())),
        );
        let mut path = form_urlencoded::Serializer::new("/users?".to_owned());
        path.extend_pairs(&sent)
            .extend_pairs(cursor.iter().map(|cursor| ("cursor", cursor)));
        let reply = self.send(Method::GET, &path.finish(), "");

        let limit = query.limit.as_deref().map(model::limit).transpose();
        let is_cursor_valid = cursor.as_deref().map(model::cursor).transpose();
        let limit = match limit.and_then(|limit| is_cursor_valid.map(|_| limit)) {
            Err(codes) => return compare(&reply, Err(codes)),
            Ok(limit) => limit,
        };
        let email = query.emails.last().filter(|email| !email.is_empty());
        let ids = self.page(&reply, email.map(String::as_str), limit)?;
        if let Some(next) = reply.next_query() {
            let email = email.map(|email| ("email".to_owned(), email.clone()));
            let limit = limit.map(|limit| ("limit".to_owned(), limit.to_string()));
            let repeated = next.iter().filter(|(name, _)| name != "cursor").cloned();
            prop_assert!(repeated.eq(email.into_iter().chain(limit)), "{next:?}");
        }
        if cursor.is_some() {
            return Ok(());
        }
        // For a list from its start, the model knows which users it must contain.
        let all = self
            .model
            .0
            .keys()
            .filter(|id| self.model.is_listed(id, email.map(String::as_str)));
        let owed: BTreeSet<_> = all.filter(|id| !ids.contains(*id)).cloned().collect();
        prop_assert_eq!(
            reply.next_url().is_some(),
            !owed.is_empty(),
            "{}",
            reply.text
        );
        if let Some(url) = reply.next_url() {
            self.walk = Some(Walk {
                url,
                email: email.cloned(),
                seen: ids,
                owed,
            });
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(), TestCaseError> {
        let Some(mut walk) = self.walk.take() else {
            return Ok(());
        };
        let query = walk.url.trim_start_matches('?');
        let limit = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "limit");
        let limit = limit.and_then(|(_, limit)| limit.parse().ok());
        let reply = self.send(Method::GET, &format!("/users{}", walk.url), "");
        let ids = self.page(&reply, walk.email.as_deref(), limit)?;
        prop_assert!(
            walk.seen.is_disjoint(&ids),
            "seen: {:?}; {}",
            walk.seen,
            reply.text
        );
        walk.owed.retain(|id| !ids.contains(id));
        walk.seen.extend(ids);
        if let Some(url) = reply.next_url() {
            walk.url = url;
            self.walk = Some(walk);
        } else {
            prop_assert!(walk.owed.is_empty(), "never listed: {:?}", walk.owed);
        }
        Ok(())
    }

    /// Checks a page, and returns the ids of its users.
    fn page(
        &self,
        reply: &Reply,
        email: Option<&str>,
        limit: Option<usize>,
    ) -> Result<BTreeSet<String>, TestCaseError> {
        prop_assert_eq!(reply.status, 200, "{}", reply.text);
        let Json::Array(users) = json(reply) else {
            return Err(TestCaseError::fail(format!("not a list: {}", reply.text)));
        };
        let mut ids = BTreeSet::new();
        for user in &users {
            let id = match user {
                Json::Object(members) => members.get("id"),
                _ => None,
            };
            let Some(Json::String(id)) = id else {
                return Err(TestCaseError::fail(format!("not a user: {user:?}")));
            };
            prop_assert!(ids.insert(id.clone()), "listed twice: {id}");
            prop_assert!(self.model.is_listed(id, email), "not in this list: {id}");
            prop_assert_eq!(self.model.0.get(id), Some(user));
        }
        // No page reaches the maximum size of a response.
        match (limit, reply.next_url()) {
            (None, next) => prop_assert_eq!(next, None),
            (Some(limit), Some(_)) => prop_assert_eq!(ids.len(), limit),
            (Some(limit), None) => prop_assert!(ids.len() <= limit),
        }
        Ok(ids)
    }
}

/// Asserts that a response equals the model's.
fn compare(reply: &Reply, expected: Result<Json, Codes>) -> Result<(), TestCaseError> {
    match expected {
        Ok(expected) => {
            prop_assert_eq!(reply.status, 200, "{}", reply.text);
            prop_assert_eq!(json(reply), expected);
        }
        Err(codes) => {
            prop_assert_eq!(reply.status, 400, "{}", reply.text);
            let body = reply.json();
            let code = body["code"].as_str().unwrap_or_default();
            prop_assert!(codes.contains(&code), "{codes:?}: {}", reply.text);
            reply.fails(code);
        }
    }
    Ok(())
}

fn json(reply: &Reply) -> Json {
    Json::parse(&reply.text).expect("a reply is JSON")
}

/// Returns the path of a user. A plus sign is sent as it is.
fn path(id: &PathId) -> String {
    let encoded = match id {
        PathId::Is(id) => percent_encoded(id).replace("%2B", "+"),
        PathId::Malformed(encoded) => (*encoded).to_owned(),
    };
    format!("/users/{encoded}")
}

/// Returns whether an id is a random UUID in lower case, with hyphens.
fn is_random_uuid(id: &Json) -> bool {
    let Json::String(id) = id else { return false };
    Uuid::parse_str(id).is_ok_and(|uuid| {
        let kind = (uuid.get_version_num(), uuid.get_variant());
        kind == (4, Variant::RFC4122) && uuid.to_string() == *id
    })
}

#[test]
fn each_operation_returns_and_stores_what_the_model_does() {
    let runtime = Runtime::new().expect("a runtime");
    let services: Vec<_> = (0..THREADS)
        .map(|_| {
            let table = runtime.block_on(Table::new());
            let api = runtime.block_on(Api::on(engine(), table.name()));
            (table, api)
        })
        .collect();
    let workers = services.iter().map(|service| {
        (
            service,
            Meter::start(&runtime, &service.1, operations(), service.0.name()),
        )
    });
    let strategy = || vec(operation(), LENGTHS);
    let test = |(table, api): &&(Table, Api), operations: Vec<Operation>, meter: &mut Meter| {
        let mut client = Client {
            runtime: &runtime,
            api,
            model: Model::default(),
            walk: None,
        };
        client.perform(&Operation::DeleteAll(""))?;
        for operation in &operations {
            client.perform(operation)?;
            meter.finish_case()?;
        }
        for emails in [Vec::new(), vec!["a@b".to_owned()]] {
            let limit = Some((1 + operations.len() % 4).to_string());
            let query = Query {
                emails,
                limit,
                cursor: Cursor::None,
                has_unknown: false,
            };
            client.walk = None;
            client.perform(&Operation::List(query))?;
            while client.walk.is_some() {
                client.perform(&Operation::Next)?;
            }
        }
        let stored: Members = runtime.block_on(table.all());
        prop_assert_eq!(&stored, &client.model.0);
        Ok(())
    };
    fuzz(
        "operations",
        cases(40) / LENGTH,
        workers.collect(),
        strategy,
        test,
    );
    for (_, api) in &services {
        assert_first_processes(api, operations().len());
    }
}
