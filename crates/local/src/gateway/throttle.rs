//! Throttles requests with token buckets, as API Gateway does
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html>).

use std::sync::Mutex;
use std::time::Instant;

use crate::template::Throttle;

/// Counts requests against a limit.
pub(crate) struct Bucket {
    throttle: Throttle,
    /// How many requests the bucket had room for, and at what time.
    tokens: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// Returns a full bucket.
    pub(crate) fn new(throttle: Throttle, now: Instant) -> Self {
        Self {
            throttle,
            tokens: Mutex::new((throttle.burst, now)),
        }
    }

    /// Counts a request, and returns whether there was room for it.
    pub(crate) fn take(&self, now: Instant) -> bool {
        let mut tokens = self
            .tokens
            .lock()
            .expect("nothing panics while it holds this lock");
        let passed = now.saturating_duration_since(tokens.1).as_secs_f64();
        let filled = (tokens.0 + passed * self.throttle.rate).min(self.throttle.burst);
        let taken = filled >= 1.0;
        *tokens = (if taken { filled - 1.0 } else { filled }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_accepts_a_burst_at_once_and_then_its_rate() {
        let start = Instant::now();
        let throttle = Throttle {
            rate: 2.0,
            burst: 3.0,
        };
        let bucket = Bucket::new(throttle, start);
        let taken = |milliseconds| bucket.take(start + Duration::from_millis(milliseconds));
        assert_eq!(
            [0, 0, 0, 0, 400].map(taken),
            [true, true, true, false, false]
        );
        assert_eq!(
            [500, 500, 1000, 1000].map(taken),
            [true, false, true, false]
        );
        // It never has room for more than a burst.
        assert_eq!([60_000; 4].map(taken), [true, true, true, false]);
    }
}
