//! The Lambda function for `GET /users`.

use lambda_runtime::Error;
use users_core::{handlers, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(handlers::GET_ALL, handlers::get_all).await
}
