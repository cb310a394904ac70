//! The Lambda function for `DELETE /users`.

use lambda_runtime::Error;
use users_core::{handlers, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(handlers::DELETE_ALL, handlers::delete_all).await
}
