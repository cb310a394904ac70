//! What stands for AWS's own values.

/// The account id in events and ARNs. AWS's documentation uses the same one.
pub(crate) const ACCOUNT_ID: &str = "123456789012";
/// The default region.
pub(crate) const REGION: &str = "us-east-1";
