//! A Lambda function that does nothing. The benchmark compares the others with it, because it shows
//! what `lambda_http` alone costs.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|_: Request| async {
        Ok::<_, Error>(Response::new(Body::Text("null".to_owned())))
    }))
    .await
}
