//! How much of the memory budget one file may take now: a pure function of what is taken already.
//!
//! A budget is shared twice by the same rule, by routes first and by the files of a route then. The rule is
//! that of shared-memory switches (Choudhury and Hahne, "Dynamic queue length thresholds", 1998): a member may
//! hold a fixed part of what the others have left. So members that drain get equal shares, and members that
//! are stuck (a topic that fails, a broker that hangs) stop long before the rest is gone.
//!
//! A threshold alone is not enough: each stuck member leaves a part of the rest, so that 25 of them leave
//! next to nothing. Hence a reserve, a quarter of the limit, that nobody takes by the rule above. Half of it
//! belongs to the routes in equal parts, half to the files. A route that holds less than its own part, and a
//! file that holds less than its own, is served however much the others hold.
//!
//! ```text
//! 0                                              3/4            7/8             limit
//! | by threshold: whoever is first, to a bound    | routes' own  | files' own     |
//! ```
//! That all of it fits: the thresholds end at 3/4, and what is taken beyond is own parts, which add up to the
//! rest.

use crate::buffer::BufferPool;

/// What is taken of a budget at one moment, as one file sees it. Nothing here is exact while others take and
/// give back, but `used` is never less than what was taken under the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Bytes that may be taken in all.
    pub(super) limit: usize,
    /// Bytes that are taken.
    pub(super) used: usize,
    /// Routes that exist, at least one.
    pub(super) routes: usize,
    /// Bytes that the files of this route hold.
    pub(super) route_held: usize,
    /// Files of this route, at least one.
    pub(super) files: usize,
    /// Bytes that this file holds.
    pub(super) file_held: usize,
    /// Bytes that one file may hold, however much is free.
    pub(super) most_per_file: usize,
}

/// What a file asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// Bytes that it could use.
    pub(super) want: usize,
    /// Fewer bytes are of no use to it.
    pub(super) least: usize,
    /// It was refused long ago and has nothing: few bytes are better than none.
    pub(super) is_starved: bool,
}

impl Request {
    /// The same of a file that has not waited.
    pub(super) fn if_not_starved(self) -> Request {
        Request {
            is_starved: false,
            ..self
        }
    }

    /// Whether a file that holds nothing is served with less than a step: it has not more to read than that, or a
    /// long line, or it has waited for long.
    fn takes_little(&self) -> bool {
        self.is_starved || self.want <= LITTLE_BYTES || self.least > LEAST_BYTES
    }
}

impl Standing {
    /// Bytes that a file with this standing gets: 0, or at least the smaller of `want` and `least`.
    pub(super) fn grant(&self, request: Request) -> usize {
        self.grant_in_steps(request, STEP_BYTES)
    }

    /// Whether to wake a file that was refused: it reads two steps then, so that a thread is not woken for each
    /// read.
    pub(super) fn is_worth_a_wake(&self, request: Request) -> bool {
        let want = match request.want {
            STEP_BYTES.. => WAKE_BYTES,
            want => want,
        };
        self.grant_in_steps(Request { want, ..request }, WAKE_BYTES) > 0
    }

    fn grant_in_steps(&self, request: Request, step_bytes: usize) -> usize {
        let Request { want, least, .. } = request;
        let least = least.min(want).max(1);
        let free = self.limit.saturating_sub(self.used);
        let room = self.file_share().saturating_sub(self.file_held);
        let room = room.min(free).min(want);
        // With hundreds of busy files, small steps cost more than what is read by them: files that have much to
        // read take turns at full steps. Where limit or number of routes make shares smaller than that, half a
        // share.
        let step = want.min(step_bytes).min(self.idle_share() / 2).max(least);
        if room >= step {
            return room;
        }
        if self.file_held > 0 || !request.takes_little() {
            return 0;
        }
        if room >= least {
            return room;
        }
        // A file that holds nothing makes one small step as long as its route may hold more; and where the
        // least is a long line, one that is longer than the share, as long as that touches no file's own part.
        let route_share = self.route_share();
        let kept = if self.route_held.saturating_add(least) <= route_share {
            0
        } else if self.route_held < route_share {
            self.limit / OWN_PART
        } else {
            return 0;
        };
        if least.saturating_add(kept) <= free {
            least
        } else {
            0
        }
    }

    /// What the file could hold if nobody held anything.
    fn idle_share(&self) -> usize {
        let idle = Standing {
            used: 0,
            route_held: 0,
            file_held: 0,
            ..*self
        };
        idle.file_share()
    }

    /// What the route may hold.
    fn route_share(&self) -> usize {
        let others = self.used.saturating_sub(self.route_held);
        let left = self.thresholds_end().saturating_sub(others);
        let own = self.limit / OWN_PART / self.routes.max(1);
        (left / self.routes.clamp(1, ROUTE_DIVISOR)).max(own)
    }

    /// What the file may hold. A share of the route is left to the files that hold nothing.
    fn file_share(&self) -> usize {
        let route_share = self.route_share();
        let others = self.route_held.saturating_sub(self.file_held);
        let left = (route_share - route_share / EMPTY_HANDED_PART).saturating_sub(others);
        let own = self.limit / OWN_PART / self.routes.max(1) / self.files.max(1);
        (left / self.files.clamp(1, FILE_DIVISOR))
            .max(own)
            .min(self.most_per_file)
    }

    fn thresholds_end(&self) -> usize {
        self.limit - 2 * (self.limit / OWN_PART)
    }
}

/// See `Budget::LEAST_BYTES`.
pub(super) const LEAST_BYTES: usize = 4 << 10;
/// What one file may hold at most, however much is free: enough to keep five requests in flight
/// and the next ones ready, without filling memory while the broker is the slower side.
pub(super) const PER_FILE_BYTES: usize = 4 << 20;
/// A file that has bytes on their way waits until it may take so much more.
const STEP_BYTES: usize = BufferPool::BUFFER_BYTES;
/// So much a file that has bytes on their way is woken for.
pub(super) const WAKE_BYTES: usize = 2 * STEP_BYTES;
/// What one look finds in a file that grows by lines, not in a backlog.
const LITTLE_BYTES: usize = 16 << 10;
/// The routes' own parts are this part of the limit together, and so are the files'.
const OWN_PART: usize = 8;
/// The files that hold nothing have this part of a route's share to themselves.
const EMPTY_HANDED_PART: usize = 8;
/// Among three routes or more, one may hold a third of what the others leave, which is half of what is free
/// then; one of two may hold as much as is free then, and the only one has nobody to leave anything to.
const ROUTE_DIVISOR: usize = 3;
/// Among five files or more, one may hold a quarter of what is free of its route's share then.
const FILE_DIVISOR: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Request = Request {
        want: STEP_BYTES,
        least: 4 << 10,
        is_starved: false,
    };
    const STARVED: Request = Request {
        is_starved: true,
        ..FULL
    };

    /// Routes with files that take and give back by the rule.
    struct Model {
        limit: usize,
        used: usize,
        routes_held: Vec<usize>,
        held: Vec<Vec<usize>>,
    }

    impl Model {
        fn new(limit: usize, files: &[usize]) -> Model {
            Model {
                limit,
                used: 0,
                routes_held: vec![0; files.len()],
                held: files.iter().map(|&files| vec![0; files]).collect(),
            }
        }

        fn standing(&self, route: usize, file: usize) -> Standing {
            Standing {
                limit: self.limit,
                used: self.used,
                routes: self.held.len(),
                route_held: self.routes_held[route],
                files: self.held[route].len(),
                file_held: self.held[route][file],
                most_per_file: PER_FILE_BYTES,
            }
        }

        fn take(&mut self, route: usize, file: usize, request: Request) -> usize {
            let standing = self.standing(route, file);
            let bytes = standing.grant(request);
            self.used += bytes;
            self.routes_held[route] += bytes;
            self.held[route][file] += bytes;
            assert!(self.used <= self.limit, "{bytes} bytes: {standing:?}");
            assert!(
                bytes <= request.want && (bytes == 0 || bytes >= request.least.min(request.want))
            );
            bytes
        }

        fn give_back(&mut self, route: usize, file: usize, bytes: usize) {
            self.used -= bytes;
            self.routes_held[route] -= bytes;
            self.held[route][file] -= bytes;
        }

        /// The files of a route take all they get, also after a while.
        fn fill(&mut self, route: usize) {
            for request in [FULL, FULL, STARVED] {
                for file in 0..self.held[route].len() {
                    while self.take(route, file, request) > 0 {}
                }
            }
        }
    }

    const MIB: usize = 1 << 20;

    #[test]
    fn a_healthy_route_keeps_a_full_pipeline_beside_any_number_of_stuck_files() {
        for limit in [2 * MIB, 8 * MIB, 16 * MIB, 64 * MIB] {
            let mut healthy_holds = Vec::new();
            for stuck in [1, 12, 25, 100, 400, 10_000] {
                let mut model = Model::new(limit, &[stuck, 1]);
                model.fill(0);
                assert!(model.routes_held[0] <= limit / 2);
                model.fill(1);
                healthy_holds.push(model.held[1][0]);
            }
            // From a few files on, more of them change nothing.
            let few = healthy_holds[2];
            let least = *healthy_holds.iter().min().expect("there are some");
            assert!(
                least >= (limit / 8).min(PER_FILE_BYTES) && few - least <= 2 * STEP_BYTES,
                "{limit}: {healthy_holds:?}"
            );
        }
    }

    #[test]
    fn many_routes_that_are_stuck_leave_each_other_their_own_part() {
        let limit = 64 * MIB;
        for stuck in [1, 5, 25, 100] {
            let mut model = Model::new(limit, &vec![100; stuck + 1]);
            for route in 0..stuck {
                model.fill(route);
                let held = model.routes_held[route];
                let own = limit / OWN_PART / (stuck + 1);
                assert!(held * 10 >= own * 7, "route {route} of {stuck}: {held}");
            }
            model.fill(stuck);
            assert!(model.routes_held[stuck] > 50 << 10);
        }
    }

    #[test]
    fn a_file_goes_on_beside_stuck_files_of_its_own_route() {
        for (limit, stuck) in [(8 * MIB, 25), (8 * MIB, 100), (64 * MIB, 400)] {
            for routes in [1, 2] {
                let mut files = vec![stuck + 1; routes];
                files[0] = stuck + 1;
                let mut model = Model::new(limit, &files);
                for _ in 0..2 {
                    for file in 0..stuck {
                        while model.take(0, file, STARVED) > 0 {}
                    }
                }
                let bytes = model.take(0, stuck, STARVED);
                assert!(bytes >= FULL.least, "{limit} {stuck} {routes}: {bytes}");
            }
        }
    }

    #[test]
    fn one_busy_file_of_many_idle_ones_reads_in_full_steps() {
        for (limit, files) in [
            (8 * MIB, &[100, 10][..]),
            (64 * MIB, &[1]),
            (64 * MIB, &[400, 1]),
        ] {
            let mut model = Model::new(limit, files);
            assert_eq!(model.take(0, 0, FULL), STEP_BYTES, "{limit} {files:?}");
            assert_eq!(model.take(0, 0, FULL), STEP_BYTES, "{limit} {files:?}");
        }
    }

    #[test]
    fn no_busy_route_is_left_out() {
        let mut random = fastrand::Rng::with_seed(1);
        for (limit, files) in [(64 * MIB, vec![100]), (64 * MIB, vec![100, 10, 1])] {
            let mut model = Model::new(limit, &files);
            let mut taken = Vec::new();
            for _ in 0..40_000 {
                let route = random.usize(..files.len());
                let file = random.usize(..files[route]);
                let bytes = model.take(route, file, FULL);
                taken.push((route, file, bytes));
                // What is on its way longest is acknowledged first.
                if model.used > limit / 2 {
                    let at = taken
                        .iter()
                        .position(|&(_, _, bytes)| bytes > 0)
                        .expect("some");
                    for (route, file, bytes) in taken.drain(..=at) {
                        model.give_back(route, file, bytes);
                    }
                }
            }
            for (route, held) in model.held.iter().enumerate() {
                assert!(
                    model.routes_held[route] > 0,
                    "route {route} of {files:?} holds nothing"
                );
                let most = held.iter().max().expect("has files");
                assert!(*most <= PER_FILE_BYTES);
            }
        }
    }

    #[test]
    fn whatever_is_asked_for_the_limit_and_the_own_parts_hold() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let limit = random.usize(2 * MIB..80 * MIB);
            let routes = random.usize(1..12);
            let files: Vec<usize> = (0..routes).map(|_| random.usize(1..60)).collect();
            let mut model = Model::new(limit, &files);
            for _ in 0..2_000 {
                let route = random.usize(..routes);
                let file = random.usize(..files[route]);
                if random.u8(..) < 60 {
                    let bytes = random.usize(..=model.held[route][file]);
                    model.give_back(route, file, bytes);
                    continue;
                }
                model.take(route, file, FULL);
            }
            // Whoever holds less than its own part and asks for no more than that gets it.
            for (route, &count) in files.iter().enumerate() {
                let own = limit / OWN_PART / routes / count;
                for file in 0..count {
                    let want = own.saturating_sub(model.held[route][file]);
                    let least = want;
                    if want > 0 && model.held[route][file] == 0 {
                        let request = Request {
                            want,
                            least,
                            is_starved: true,
                        };
                        assert_eq!(model.take(route, file, request), want, "round {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_long_line_goes_out_beside_stuck_routes() {
        let line = Request {
            want: 900 << 10,
            least: 900 << 10,
            is_starved: false,
        };
        for limit in [4 * MIB, 8 * MIB, 64 * MIB] {
            let mut model = Model::new(limit, &[100, 1]);
            model.fill(0);
            assert_eq!(model.take(1, 0, line), line.want, "{limit}");
        }
    }

    #[test]
    fn a_file_is_woken_for_two_steps_or_all_that_it_wants_or_when_it_has_waited_for_long() {
        let file = Standing {
            limit: 64 * MIB,
            used: PER_FILE_BYTES - STEP_BYTES,
            routes: 1,
            route_held: PER_FILE_BYTES - STEP_BYTES,
            files: 1,
            file_held: PER_FILE_BYTES - STEP_BYTES,
            most_per_file: PER_FILE_BYTES,
        };
        assert_eq!(file.grant(FULL), STEP_BYTES);
        assert!(!file.is_worth_a_wake(FULL));
        let little = Request {
            want: 100,
            least: 100,
            is_starved: false,
        };
        assert!(file.is_worth_a_wake(little));
        let drained = Standing {
            file_held: PER_FILE_BYTES - 2 * STEP_BYTES,
            ..file
        };
        assert!(drained.is_worth_a_wake(FULL));
        let empty_handed = Standing {
            files: 100,
            route_held: 41 * MIB,
            used: 41 * MIB,
            file_held: 0,
            ..file
        };
        assert!(!empty_handed.is_worth_a_wake(FULL) && empty_handed.grant(FULL) == 0);
        assert!(empty_handed.is_worth_a_wake(STARVED) && empty_handed.is_worth_a_wake(little));
    }

    #[test]
    fn busy_files_take_turns_at_full_steps() {
        let files = 1000;
        let mut model = Model::new(64 * MIB, &[files]);
        for _ in 0..10 {
            let taken: Vec<_> = (0..files)
                .map(|file| model.take(0, file, FULL))
                .filter(|&bytes| bytes > 0)
                .collect();
            assert!(taken.len() > 100 && taken.iter().all(|&bytes| bytes == STEP_BYTES));
            for file in 0..files {
                let bytes = model.held[0][file];
                model.give_back(0, file, bytes);
            }
        }
    }
}
