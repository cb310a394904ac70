//! Which events a function refuses: those of another operation or service, and, to delete all
//! users, whatever could mean fewer.

use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::event::{Event, FOREIGN_CONTEXT_MEMBERS, FOREIGN_MEMBERS, invalid, malformed};
use super::members::{Members, text};
use super::route::Route;
use crate::error::{Error, shortened};

impl Event<'_> {
    /// Refuses an event that is not one of a REST API, or that names another method, resource or
    /// path, wherever such events name them.
    pub(super) fn refuse_other_operations(
        &self,
        route: Route,
        id: Option<&str>,
    ) -> Result<(), Error> {
        let Route {
            method, resource, ..
        } = route;
        let foreign = FOREIGN_MEMBERS
            .iter()
            .find(|name| self.members.get(name).is_some())
            .or_else(|| {
                FOREIGN_CONTEXT_MEMBERS
                    .iter()
                    .find(|name| self.in_context(name).is_some())
            });
        if let Some(name) = foreign {
            return Err(invalid(format!(
                "this function serves only proxy events of a REST API, which have no '{name}'"
            )));
        }
        let names = [
            (self.members.get("httpMethod"), method),
            (self.in_context("httpMethod"), method),
            (self.members.get("resource"), resource),
            (self.in_context("resourcePath"), resource),
        ];
        let is_other = |(name, own): (Option<&RawValue>, &str)| {
            name.is_some_and(|name| text(name).as_deref() != Some(own))
        };
        let paths = [self.members.text("path"), self.context_text("path")];
        let has_other_path = paths
            .iter()
            .flatten()
            .any(|path| !is_path_of(path, resource, id));
        if names.into_iter().any(is_other) || has_other_path {
            return Err(invalid(format!(
                "this function serves only {method} {resource}"
            )));
        }
        Ok(())
    }

    /// Refuses an event that could mean fewer than all users, or that cannot be understood.
    pub(super) fn refuse_fewer_than_all(&self) -> Result<(), Error> {
        const INSTEAD: &str = "to delete some, find their ids with GET /users, and send \
                               DELETE /users/{id} for each";

        if self.members.get("httpMethod").is_none() {
            return Err(invalid(
                "this function deletes all users: its event must contain \
                 \"httpMethod\": \"DELETE\"",
            ));
        }
        for name in [
            "pathParameters",
            "queryStringParameters",
            "multiValueQueryStringParameters",
        ] {
            let Some(parameters) = self.members.get(name) else {
                continue;
            };
            let parameters = Members::parse(parameters.get(), &[]).map_err(|_| malformed(name))?;
            if let Some(parameter) = parameters.other() {
                return Err(invalid(format!(
                    "DELETE /users deletes all users and accepts no parameters such as '{}': \
                     {INSTEAD}",
                    shortened(parameter)
                )));
            }
        }
        if let Some(body) = self.members.get("body")
            && text(body).is_none_or(|body| !body.is_empty())
        {
            return Err(invalid(format!(
                "DELETE /users deletes all users and accepts no body: {INSTEAD}; to delete all, \
                 send the request without a body"
            )));
        }
        let context = self
            .context
            .as_ref()
            .ok_or_else(|| malformed("requestContext"))?;
        for path in [self.members.get("path"), context.get("path")] {
            let Some(path) = path else { continue };
            if text(path).ok_or_else(|| malformed("path"))?.ends_with('/') {
                return Err(invalid(
                    "the path ends with '/', as if an id were missing: send DELETE /users/{id} to \
                     delete a user, or DELETE /users to delete all",
                ));
            }
        }
        // A person typed the event. API Gateway's have a context, and AWS may add members to them.
        if context.is_empty()
            && let Some(name) = self.members.other()
        {
            return Err(invalid(format!(
                "this function deletes all users, and does not know the member '{}' of the event",
                shortened(name)
            )));
        }
        Ok(())
    }
}

/// Returns whether a path, perhaps below a stage or the base path of a custom domain, is one of
/// this resource with this id. API Gateway's own test page sends the resource itself as a path.
fn is_path_of(path: &str, resource: &str, id: Option<&str>) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let is_for = |id: &str| {
        let own = resource.replace("{id}", id);
        path.ends_with(&own) || decoded(path).ends_with(&own)
    };
    match id {
        _ if path.ends_with(resource) => true,
        Some(id) => is_for(id) || is_for(&decoded(id)),
        // An operation that needs an id is refused without one.
        None => resource.contains("{id}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::handlers::{DELETE, DELETE_ALL};
    use crate::request;

    #[test]
    fn an_event_for_another_operation_is_refused() {
        for (rule, event) in [
            ("another method", r#"{"httpMethod": "GET"}"#),
            ("another resource", r#"{"resource": "/users"}"#),
            (
                "another path",
                r#"{"path": "/users/2", "pathParameters": {"id": "1"}}"#,
            ),
            (
                "another method in the context",
                r#"{"requestContext": {"httpMethod": "PUT"}}"#,
            ),
            (
                "payload 2.0",
                r#"{"requestContext": {"http": {"method": "DELETE"}}}"#,
            ),
            ("a load balancer", r#"{"requestContext": {"elb": {}}}"#),
        ] {
            let error = request(event, DELETE).expect_err(rule);
            assert_eq!(error.code(), "InvalidRequest", "{rule}");
        }
    }

    #[test]
    fn only_a_plain_request_deletes_all_users() {
        let plain = r#"{"httpMethod": "DELETE", "path": "/users", "body": ""}"#;
        request(plain, DELETE_ALL).expect("a request");
        for (rule, event) in [
            ("no method", "{}"),
            ("a body", r#"{"httpMethod": "DELETE", "body": "{}"}"#),
            (
                "a path parameter",
                r#"{"httpMethod": "DELETE", "pathParameters": {"id": null}}"#,
            ),
            (
                "an unknown member",
                r#"{"httpMethod": "DELETE", "dryRun": true}"#,
            ),
            (
                "a path that is no text",
                r#"{"httpMethod": "DELETE", "path": ["/users/5"]}"#,
            ),
        ] {
            let error = request(event, DELETE_ALL).expect_err(rule);
            assert_eq!(error.code(), "InvalidRequest", "{rule}");
        }
    }
}
