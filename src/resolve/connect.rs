//! Connecting to a host by its name, over whichever of its addresses answers.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Resolver;

/// Connects to `host` by `until`. Half of the time at most is for finding its addresses; what is left is shared
/// evenly by those that have not been tried, so that one which is silent does not take the turn of the others.
pub fn connect(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let now = Instant::now();
    let known_by = now + until.saturating_duration_since(now) / 2;
    let addresses = Resolver::of_this_host().addresses(host, port, known_by)?;
    connect_to_one(&addresses, until, TcpStream::connect_timeout)
}

fn connect_to_one<T>(
    addresses: &[SocketAddr],
    until: Instant,
    connect: impl Fn(&SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<T> {
    let mut errors = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let waiting = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / waiting;
        match connect(address, share.max(LEAST_SHARE)) {
            Ok(connected) => return Ok(connected),
            Err(error) => errors.push((address, error)),
        }
    }
    Err(together(errors))
}

/// One error as it is; of several each with its address, and of the kind of the last one.
fn together(mut errors: Vec<(&SocketAddr, io::Error)>) -> io::Error {
    let Some((_, last)) = errors.last() else {
        return io::ErrorKind::NotFound.into();
    };
    if errors.len() == 1 {
        return errors.remove(0).1;
    }
    let kind = last.kind();
    let texts = errors
        .iter()
        .map(|(address, error)| format!("{address}: {error}"));
    io::Error::new(kind, texts.collect::<Vec<_>>().join(", "))
}

/// A host of the same network answers by then.
const LEAST_SHARE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::thread;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|last| ([10, 0, 0, last], 9092).into())
            .collect()
    }

    #[test]
    fn every_address_has_a_fair_share_of_the_time() {
        let until = Instant::now() + Duration::from_millis(1200);
        let shares = RefCell::new(Vec::new());
        let error = connect_to_one(&addresses(3), until, |_, share| {
            shares.borrow_mut().push(share.as_millis());
            thread::sleep(share);
            Err::<(), _>(io::ErrorKind::TimedOut.into())
        });
        let shares = shares.into_inner();
        assert_eq!(shares.len(), 3);
        assert!(
            shares.iter().all(|share| (90..=400).contains(share)),
            "{shares:?}"
        );
        assert_eq!(
            error.expect_err("none answers").kind(),
            io::ErrorKind::TimedOut
        );
    }

    #[test]
    fn the_first_one_that_answers_is_taken_and_one_that_refuses_costs_no_time() {
        let until = Instant::now() + Duration::from_secs(10);
        let connected = connect_to_one(&addresses(3), until, |address, share| {
            match address.to_string().as_str() {
                "10.0.0.1:9092" => Err(io::ErrorKind::ConnectionRefused.into()),
                text => Ok((text.to_owned(), share)),
            }
        });
        let (address, share) = connected.expect("the second one answers");
        assert_eq!(address, "10.0.0.2:9092");
        assert!(share > Duration::from_secs(4), "{share:?}");
    }

    #[test]
    fn an_error_names_all_addresses_if_there_are_several() {
        let refuse = |_: &SocketAddr, _| Err::<(), _>(io::ErrorKind::ConnectionRefused.into());
        let until = Instant::now() + Duration::from_secs(1);
        let text = |count| {
            connect_to_one(&addresses(count), until, refuse)
                .expect_err("none")
                .to_string()
        };
        assert_eq!(text(1), "connection refused");
        assert_eq!(
            text(2),
            "10.0.0.1:9092: connection refused, 10.0.0.2:9092: connection refused"
        );
        assert_eq!(text(0), "entity not found");
    }
}
