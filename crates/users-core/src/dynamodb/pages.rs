//! Lists of users, page by page.

use std::time::Duration;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::sleep;

use super::error::implausible;
use crate::error::Error;
use crate::user::{EMAIL, Item, Key, User};

/// How long to wait after a page without users: at first, and at most. The wait doubles with each
/// such page.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A list of users, read page by page. See [`super::Store::list`].
pub(crate) struct Pages {
    request: Box<PageRequest>,
    /// The email address that every user must have.
    email: Option<Key>,
    next: Next,
    /// How long to wait before the next page.
    wait: Duration,
}

/// The items of a page, and the key of the last one if there are more.
type Page = (Vec<Item>, Option<Item>);

/// A function that requests a page: after a key or from the start, with at most this many items or
/// without a limit.
type PageRequest =
    dyn Fn(Option<Item>, Option<i32>) -> BoxFuture<'static, Result<Page, Error>> + Send + Sync;

/// Where the next page begins.
#[derive(Debug)]
enum Next {
    /// After this key, or at the start.
    From(Option<Item>),
    /// There is no next page.
    Nothing,
}

impl Pages {
    /// Returns the pages of a scan. Scans and queries differ only in their types. They have
    /// separate constructors, so that an executable links only the operation that it uses.
    pub(super) fn of_scan(scan: ScanFluentBuilder, start: Option<Item>) -> Self {
        let request = move |start, limit| {
            let scan = scan.clone().set_exclusive_start_key(start).set_limit(limit);
            async {
                let output = scan.send().await?;
                Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
            }
            .boxed()
        };
        Self::new(Box::new(request), None, start)
    }

    /// Returns the pages of a query for the users with this email address.
    pub(super) fn of_query(query: QueryFluentBuilder, email: Key, start: Option<Item>) -> Self {
        let request = move |start, limit| {
            let query = query
                .clone()
                .set_exclusive_start_key(start)
                .set_limit(limit);
            async {
                let output = query.send().await?;
                Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
            }
            .boxed()
        };
        Self::new(Box::new(request), Some(email), start)
    }

    fn new(request: Box<PageRequest>, email: Option<Key>, start: Option<Item>) -> Self {
        Self {
            request,
            email,
            next: Next::From(start),
            wait: Duration::ZERO,
        }
    }

    /// Reads the next page: at most 1 MB and at most `limit` users, perhaps none. Returns `None`
    /// after the last page. After an error, it can be called again for the same page.
    ///
    /// # Errors
    ///
    /// [`Error::Throttled`], [`Error::Unavailable`] or [`Error::Internal`].
    pub(crate) async fn next(&mut self, limit: Option<usize>) -> Result<Option<Vec<User>>, Error> {
        let Next::From(start) = &self.next else {
            return Ok(None);
        };
        // Even a sleep of zero takes a millisecond, the resolution of tokio's timer.
        if !self.wait.is_zero() {
            sleep(self.wait).await;
        }
        let limit = limit.and_then(|limit| i32::try_from(limit).ok());
        let (items, last) = (self.request)(start.clone(), limit).await?;
        let last = last.filter(|key| !key.is_empty());
        if last.is_some() && last == *start {
            // The list would never end.
            return Err(implausible());
        }
        self.wait = match items.len() {
            0 => (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT),
            _ => Duration::ZERO,
        };
        self.next = last.map_or(Next::Nothing, |key| Next::From(Some(key)));
        let users: Option<Vec<_>> = items.into_iter().map(|item| self.user(item)).collect();
        users.ok_or_else(implausible).map(Some)
    }

    /// Returns whether the last page has been read.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// Returns the item as a user, if it belongs in this list.
    fn user(&self, item: Item) -> Option<User> {
        let email = self.email.as_ref().map(Key::as_str);
        User::from_item(item).filter(|user| email.is_none() || user.string(EMAIL) == email)
    }
}
