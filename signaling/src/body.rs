//! The body of a request of a stranger, which must have come in time.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// All of a body must have come after this time. A slower client only holds memory, before its token is looked at.
const WITHIN: Duration = Duration::from_secs(10);

/// The whole body.
pub(crate) struct TimelyBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for TimelyBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match tokio::time::timeout(WITHIN, Bytes::from_request(request, state)).await {
            Ok(body) => body.map(TimelyBody).map_err(IntoResponse::into_response),
            Err(_) => {
                let text = format!("The body did not come within {} s.\nSend it at once.\n", WITHIN.as_secs());
                Err((StatusCode::REQUEST_TIMEOUT, text).into_response())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::StreamExt;
    use futures_util::stream;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_waited_for_no_longer_than_others_may_take() {
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"v=0"))]);
        let never = Request::new(Body::from_stream(begun.chain(stream::pending())));
        let refused = TimelyBody::from_request(never, &()).await.err().map(|response| response.status());
        assert_eq!(refused, Some(StatusCode::REQUEST_TIMEOUT));
        let whole = TimelyBody::from_request(Request::new(Body::from("v=0")), &()).await;
        assert_eq!(whole.ok().map(|body| body.0), Some(Bytes::from_static(b"v=0")));
    }
}
