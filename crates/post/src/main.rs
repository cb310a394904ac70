//! The Lambda function for `POST /users`.

use lambda_runtime::Error;
use users_core::{handlers, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(handlers::POST, handlers::post).await
}
