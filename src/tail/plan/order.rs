//! In which order sources are read.

use super::{From, Plan, Planned, Planner};
use crate::tail::observation::Place;

impl Planner<'_> {
    /// Puts everything in order: what was open keeps its order, and what is opened comes before the first open
    /// source that was written later.
    pub(super) fn finish(mut self) -> Plan {
        let current = self.current;
        let is_current = |serial: u64| matches!(current, Some(Planned::Keep(s) | Planned::Restart(s)) if s == serial);
        let mut sources: Vec<(Option<usize>, Planned)> = Vec::new();
        let rank = |place: Place| self.seen.order.iter().position(|other| *other == place);
        for open in &self.seen.open {
            let serial = open.reached.serial;
            if is_current(serial) {
                continue;
            }
            let planned = match (
                self.restarted.contains(&serial),
                self.plan.closed.contains_key(&serial),
            ) {
                (true, _) => Planned::Restart(serial),
                (false, true) => continue,
                (false, false) => Planned::Keep(serial),
            };
            sources.push((rank(Place::Open(serial)), planned));
        }
        let mut opened: Vec<(usize, usize, From)> = self
            .opened
            .iter()
            .map(|(at, from)| (rank(Place::Candidate(*at)).unwrap_or(*at), *at, *from))
            .collect();
        opened.sort_unstable_by_key(|(rank, ..)| *rank);
        for (rank, at, from) in opened {
            let planned = Planned::Open(at, from);
            let (first, last) = self.bounds(&sources, planned);
            let later = |(other, _): &(Option<usize>, Planned)| other.is_some_and(|o| o > rank);
            let place = sources[first..last].iter().position(later);
            let place = place.map_or(last, |place| first + place);
            sources.insert(place, (Some(rank), planned));
        }
        self.plan.sources = sources.into_iter().map(|(_, planned)| planned).collect();
        self.plan.sources.extend(current);
        self.plan.has_current = current.is_some();
        self.plan
    }

    /// Between which places a source belongs, whatever a listing says of names that move on meanwhile.
    fn bounds(&self, sources: &[(Option<usize>, Planned)], planned: Planned) -> (usize, usize) {
        let Some(age) = self.age(planned) else {
            return (0, sources.len());
        };
        let ages = || sources.iter().map(|(_, other)| self.age(*other));
        let is_older = |other: &Option<usize>| other.is_some_and(|other| other < age);
        let older = ages().collect::<Vec<_>>().iter().rposition(is_older);
        let first = older.map_or(0, |place| place + 1);
        let newer = ages()
            .skip(first)
            .position(|other| other.is_some_and(|other| other > age));
        (first, newer.map_or(sources.len(), |place| first + place))
    }

    /// What is certain of the order: open sources were opened in it, the rest of one comes before what its file
    /// holds now, and what nobody knows was made after all of them. Of a checkpoint nothing is certain.
    fn age(&self, planned: Planned) -> Option<usize> {
        let open = &self.seen.open;
        let place = |serial: u64| open.iter().position(|o| o.reached.serial == serial);
        match planned {
            Planned::Keep(serial) | Planned::Restart(serial) => Some(2 * place(serial)? + 1),
            Planned::Open(_, From::PositionOf(serial)) => Some(2 * place(serial)?),
            Planned::Open(_, From::Start | From::End) => Some(2 * open.len()),
            Planned::OpenCurrent(_) => None,
        }
    }
}
