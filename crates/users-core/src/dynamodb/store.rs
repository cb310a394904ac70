//! The users in their DynamoDB table. Only this file builds DynamoDB requests.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::batch_write_item::builders::BatchWriteItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, builders::PutItemFluentBuilder};
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use tokio::time::Instant;

use super::calls::UnknownOutcomes;
use super::delete_all;
use super::error::{implausible, is_failed_condition, not_found};
use super::pages::Pages;
use crate::error::Error;
use crate::user::{EMAIL, ID, Item, Key, User};

/// The global secondary index whose partition key is `email`, with all attributes projected.
pub const EMAIL_INDEX: &str = "email-index";

/// What each call reports of the capacity that it consumed, for the log.
const CAPACITY: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// The users of one table.
///
/// It is cheap to clone. Every DynamoDB call ends within 20 seconds, retries included. A method
/// returns [`Error::Unavailable`] if DynamoDB throttles, fails, returns garbage, hangs or cannot be
/// reached, and [`Error::Internal`] if DynamoDB rejects the service itself, for example because its
/// table or a permission is missing.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: Arc<str>,
}

impl Store {
    /// Returns the users of the table with this name. Its partition key must be `id`, and it must
    /// have the index [`EMAIL_INDEX`].
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// Returns the user with this id. The read is strongly consistent.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`].
    pub(crate) async fn get(&self, id: &Key) -> Result<User, Error> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(key(id.as_str())))
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY)
            .send()
            .await?;
        match output.item {
            Some(item) => user_with_id(item, id),
            None => Err(not_found(id.as_str())),
        }
    }

    /// Stores a user whose id is not taken. `json` is the user as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::UserAlreadyExists`], and the existing user is unchanged; [`Error::InvalidUser`] if
    /// DynamoDB finds the user too large.
    pub(crate) async fn create(&self, user: User, json: &str) -> Result<(), Error> {
        let id = user.id().to_owned();
        let unknown = UnknownOutcomes::default();
        let sent = self
            .put(user)
            .condition_expression("attribute_not_exists(#id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .interceptor(unknown.clone())
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(()),
            Err(error) if !is_failed_condition(&error) => return Err(error.into()),
            Err(error) => error,
        };
        // An attempt whose response was lost may have stored the user that a later one found.
        let found = match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
            _ => None,
        };
        let is_own = || {
            let found = found.and_then(User::from_item)?;
            Some(found.to_json().ok()? == json)
        };
        if unknown.any() && is_own() == Some(true) {
            return Ok(());
        }
        Err(Error::UserAlreadyExists { id })
    }

    /// Replaces the user that has this user's id.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`], and nothing is stored; [`Error::UnknownOutcome`] if the user does
    /// not exist any more, but an attempt whose response was lost may have replaced it;
    /// [`Error::InvalidUser`] if DynamoDB finds the user too large.
    pub(crate) async fn replace(&self, user: User) -> Result<(), Error> {
        let id = user.id().to_owned();
        let unknown = UnknownOutcomes::default();
        let sent = self
            .put(user)
            .condition_expression("attribute_exists(#id)")
            .customize()
            .interceptor(unknown.clone())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if !is_failed_condition(&error) => Err(error.into()),
            Err(_) if unknown.any() => Err(Error::UnknownOutcome),
            Err(_) => Err(not_found(&id)),
        }
    }

    fn put(&self, user: User) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(user.into_item()))
            .expression_attribute_names("#id", ID)
            .return_consumed_capacity(CAPACITY)
    }

    /// Deletes the user with this id, and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::UserNotFound`]; [`Error::UnknownOutcome`] if the user does not exist, but an
    /// attempt whose response was lost may have deleted it.
    pub(crate) async fn delete(&self, id: &Key) -> Result<User, Error> {
        let unknown = UnknownOutcomes::default();
        let output = self
            .client
            .delete_item()
            .table_name(&*self.table)
            .set_key(Some(key(id.as_str())))
            .return_values(ReturnValue::AllOld)
            .return_consumed_capacity(CAPACITY)
            .customize()
            .interceptor(unknown.clone())
            .send()
            .await?;
        match output.attributes {
            Some(item) => user_with_id(item, id),
            None if unknown.any() => Err(Error::UnknownOutcome),
            None => Err(not_found(id.as_str())),
        }
    }

    /// Returns the pages of a list: of all users, or of those with an email address; after the user
    /// with the id `after`, or from the start.
    ///
    /// The list of all users is strongly consistent. The index cannot be, so a list by email
    /// address may lag behind a write.
    pub(crate) fn list(&self, email: Option<Key>, after: Option<&Key>) -> Pages {
        let mut start = after.map(|id| key(id.as_str()));
        let Some(email) = email else {
            return Pages::of_scan(self.scan(), start);
        };
        let address = AttributeValue::S(email.as_str().to_owned());
        if let Some(start) = &mut start {
            start.insert(EMAIL.to_owned(), address.clone());
        }
        let query = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(EMAIL_INDEX)
            .key_condition_expression("#email = :email")
            .expression_attribute_names("#email", EMAIL)
            .expression_attribute_values(":email", address)
            .return_consumed_capacity(CAPACITY);
        Pages::of_query(query, email, start)
    }

    /// Deletes all users that exist when it begins, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] if there was too little time before `deadline`, or if DynamoDB
    /// failed after some users were deleted.
    pub(crate) async fn delete_all(&self, deadline: Instant) -> Result<(), Error> {
        delete_all::delete_all(self, deadline).await
    }

    fn scan(&self) -> ScanFluentBuilder {
        self.client
            .scan()
            .table_name(&*self.table)
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY)
    }

    /// Returns a scan that reads only ids.
    pub(super) fn scan_ids(&self) -> ScanFluentBuilder {
        self.scan()
            .projection_expression("#id")
            .expression_attribute_names("#id", ID)
    }

    /// Returns a request to delete the users with these ids.
    pub(super) fn delete_batch(&self, ids: &[String]) -> BatchWriteItemFluentBuilder {
        let deletes = ids.iter().map(|id| delete_request(id)).collect();
        self.client
            .batch_write_item()
            .request_items(&*self.table, deletes)
            .return_consumed_capacity(CAPACITY)
    }

    /// Returns the ids that a batch left, which must be among those that were sent.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if other writes are left.
    pub(super) fn unprocessed(
        &self,
        output: BatchWriteItemOutput,
        sent: &[String],
    ) -> Result<Vec<String>, Error> {
        let mut left = output.unprocessed_items.unwrap_or_default();
        let requests = left.remove(&*self.table).unwrap_or_default();
        let is_left = |id: &&String| requests.contains(&delete_request(id));
        let ids: Vec<_> = sent.iter().filter(is_left).cloned().collect();
        if left.is_empty() && ids.len() == requests.len() {
            Ok(ids)
        } else {
            Err(implausible())
        }
    }
}

/// Returns the key of the item with this id.
fn key(id: &str) -> Item {
    HashMap::from([(ID.to_owned(), AttributeValue::S(id.to_owned()))])
}

/// Returns the item as a user, which must have this id.
fn user_with_id(item: Item, id: &Key) -> Result<User, Error> {
    User::from_item(item)
        .filter(|user| user.id() == id.as_str())
        .ok_or_else(implausible)
}

fn delete_request(id: &str) -> WriteRequest {
    let request = DeleteRequest::builder()
        .set_key(Some(key(id)))
        .build()
        .expect("the request has a key");
    WriteRequest::builder().delete_request(request).build()
}
