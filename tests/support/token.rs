//! Tokens for OAUTHBEARER, unsigned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An unsigned token that is good from `from` to `to` (Unix time), as Kafka's validator for tests takes it.
pub(crate) fn token(from: u64, to: u64) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = part("{\"alg\":\"none\"}".to_owned());
    let claims = part(format!("{{\"sub\":\"agent\",\"iat\":{from},\"exp\":{to}}}"));
    format!("{head}.{claims}.")
}

/// For how long a token of [`token`] is still good; `None` if it is none, or not any more.
pub(crate) fn time_left(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = String::from_utf8(claims).ok()?;
    let (_, end) = claims.split_once("\"exp\":")?;
    let end = UNIX_EPOCH + Duration::from_secs(end.trim_end_matches('}').parse().ok()?);
    let left = end.duration_since(SystemTime::now()).ok()?;
    // Less counts as nothing, which as the time of a session would be without end.
    (left >= Duration::from_millis(1)).then_some(left)
}
