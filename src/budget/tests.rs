//! Who is served, who waits, and who is woken.

use super::*;
use crate::tailer_handle::testing::handle;

const STEP: usize = 64 << 10;

fn account(route: &Arc<RouteShare>) -> (Arc<Account>, TailerHandle) {
    let tailer = handle();
    (route.account(tailer.clone()), tailer)
}

fn take_all(account: &Arc<Account>) -> Vec<Permit> {
    std::iter::from_fn(|| account.acquire(STEP, Budget::LEAST_BYTES)).collect()
}

fn take_all_of(files: &[(Arc<Account>, TailerHandle)]) -> Vec<Permit> {
    files.iter().flat_map(|(file, _)| take_all(file)).collect()
}

#[test]
fn files_that_are_stuck_leave_room_for_another_route() {
    for count in [1, 25, 200] {
        let budget = Budget::new(8 << 20);
        let (stuck, healthy) = (budget.route(), budget.route());
        let files: Vec<_> = (0..count).map(|_| account(&stuck)).collect();
        let _kept = take_all_of(&files);
        let (file, _) = account(&healthy);
        let permits = take_all(&file);
        assert!(file.held_bytes() > 512 << 10, "{} bytes", file.held_bytes());
        assert!(budget.used_bytes() <= 8 << 20);
        drop(permits);
    }
}

#[test]
fn one_file_may_fill_a_transaction_and_leaves_room_for_another_route() {
    let budget = Budget::of_transactions(64 << 20);
    let (kept, healthy) = (budget.route(), budget.route());
    let (alone, _) = account(&kept);
    let _kept = take_all(&alone);
    assert!(alone.held_bytes() > 20 << 20, "{}", alone.held_bytes());
    let (file, _) = account(&healthy);
    let _permits = take_all(&file);
    assert!(file.held_bytes() > 4 << 20, "{}", file.held_bytes());
    assert!(budget.used_bytes() <= 64 << 20);
}

#[test]
fn a_file_that_waited_for_long_is_served_with_less_than_a_step_and_asks_for_it_by_itself() {
    let budget = Budget::new(8 << 20);
    let route = budget.route();
    let files: Vec<_> = (0..200).map(|_| account(&route)).collect();
    let _kept = take_all_of(&files);
    let (last, _) = &files[199];
    assert_eq!(last.held_bytes(), 0);
    let wait = last.asks_again_after().expect("it was refused");
    std::thread::sleep(wait);
    assert_eq!(last.asks_again_after(), None);
    let little = last.acquire(STEP, Budget::LEAST_BYTES).expect("a little");
    assert!(little.bytes() < STEP);
    // Nobody else has given anything back: it goes on with as little.
    drop(little);
    assert!(last.acquire(STEP, Budget::LEAST_BYTES).is_some());
}

#[test]
fn many_files_leave_less_for_their_bytes_and_never_less_than_a_quarter() {
    let budget = Budget::new(8 << 20);
    let route = budget.route();
    let files: Vec<_> = (0..1000).map(|_| account(&route)).collect();
    assert_eq!(
        budget.limit_bytes(),
        (8 << 20) - 1000 * Budget::OVERHEAD_PER_FILE_BYTES
    );
    let more: Vec<_> = (0..9000).map(|_| account(&route)).collect();
    assert_eq!(budget.limit_bytes(), 2 << 20);
    drop((files, more));
    assert_eq!(budget.limit_bytes(), 8 << 20);
}

#[test]
fn who_asks_again_waits_in_line_once() {
    let budget = Budget::new(8 << 20);
    let (stuck, _woken) = account(&budget.route());
    let _permits = take_all(&stuck);
    for _ in 0..100 {
        assert!(stuck.acquire(STEP, Budget::LEAST_BYTES).is_none());
    }
    assert_eq!(budget.entries.load(Ordering::SeqCst), 1);
}

#[test]
fn a_file_is_woken_by_its_own_bytes_beside_any_number_that_cannot_be_served() {
    let budget = Budget::new(8 << 20);
    let (stuck, healthy) = (budget.route(), budget.route());
    let files: Vec<_> = (0..100).map(|_| account(&stuck)).collect();
    let _kept = take_all_of(&files);
    let (file, woken) = account(&healthy);
    let mut permits = take_all(&file);
    for (_, stuck_woken) in &files {
        stuck_woken.clear();
    }
    while let Some(permit) = permits.pop() {
        drop(permit);
        if woken.clear() {
            break;
        }
    }
    assert!(!permits.is_empty(), "it was woken before all came back");
    assert!(file.acquire(STEP, Budget::LEAST_BYTES).is_some());
}

#[test]
fn a_refused_file_is_woken_when_bytes_of_another_one_come_back() {
    let budget = Budget::new(64 << 10);
    let route = budget.route();
    let (one, two) = (account(&route), account(&route));
    let mut of_one = Vec::new();
    while let Some(permit) = one.0.acquire(4 << 10, 4 << 10) {
        of_one.push(permit);
    }
    let of_two: Vec<_> = std::iter::from_fn(|| two.0.acquire(40 << 10, 40 << 10)).collect();
    assert!(of_two.is_empty());
    drop(of_one);
    assert!(two.1.clear());
    assert_eq!(budget.used_bytes(), 0);
    assert!(two.0.acquire(40 << 10, 40 << 10).is_some());
}

#[test]
fn bytes_that_come_back_wake_no_crowd_and_who_was_served_wakes_the_next() {
    let budget = Budget::new(8 << 20);
    let route = budget.route();
    let files: Vec<_> = (0..1000).map(|_| account(&route)).collect();
    let mut kept = take_all_of(&files);
    let woken = || files.iter().filter(|(_, tailer)| tailer.clear()).count();
    woken();
    drop(kept.pop());
    assert!(woken() <= 1, "one step came back");
    // The rest comes back while nobody who is woken has come to ask.
    kept.truncate(kept.len() / 2);
    let mut served = 0;
    let mut permits = Vec::new();
    loop {
        let asking: Vec<_> = files.iter().filter(|(_, tailer)| tailer.clear()).collect();
        if asking.is_empty() {
            break;
        }
        for (file, _) in asking {
            let permit = file.acquire(Budget::LEAST_BYTES, Budget::LEAST_BYTES);
            served += usize::from(permit.is_some());
            permits.extend(permit);
        }
    }
    assert!(served > 0 && budget.used_bytes() <= budget.limit_bytes());
    let waits = files
        .iter()
        .find(|(file, _)| file.waits.load(Ordering::Relaxed));
    if let Some((file, _)) = waits {
        assert!(
            !file.standing().is_worth_a_wake(file.refused()),
            "{:?}",
            file.standing()
        );
    }
}

#[test]
fn thousands_of_busy_files_each_make_steps() {
    let budget = Budget::new(64 << 20);
    let route = budget.route();
    let files: Vec<_> = (0..10_000).map(|_| account(&route)).collect();
    let mut steps = vec![0; files.len()];
    let (mut wakes, mut in_vain) = (0, 0);
    let mut on_their_way = VecDeque::new();
    let mut asking: Vec<usize> = (0..files.len()).collect();
    // A thousand do, or a third of that where rounds are slow: who has waited for a second gets a small step.
    for _ in 0..20_000 {
        for at in asking.drain(..) {
            let before = steps[at];
            while let Some(permit) = files[at].0.acquire(256 << 10, Budget::LEAST_BYTES) {
                steps[at] += 1;
                on_their_way.push_back(permit);
            }
            wakes += 1;
            in_vain += usize::from(before > 0 && steps[at] == before);
        }
        if steps.iter().all(|&steps| steps > 1) {
            break;
        }
        // The broker acknowledges something.
        on_their_way.drain(..on_their_way.len().min(200));
        asking.extend((0..files.len()).filter(|&at| files[at].1.clear()));
    }
    let left_out = steps.iter().filter(|&&steps| steps < 2).count();
    assert_eq!(left_out, 0, "files made less than two steps");
    assert!(in_vain * 10 < wakes, "{in_vain} of {wakes} wakes in vain");
}

#[test]
fn files_that_are_gone_leave_the_line() {
    let budget = Budget::new(8 << 20);
    let route = budget.route();
    let files: Vec<_> = (0..100).map(|_| account(&route)).collect();
    let kept = take_all_of(&files);
    assert!(budget.entries.load(Ordering::SeqCst) > 0);
    drop(files);
    drop(kept);
    let (last, _woken) = account(&route);
    drop(last.acquire(1, 1));
    assert_eq!(budget.entries.load(Ordering::SeqCst), 0);
    assert!(budget.waiting().lines.is_empty());
    assert_eq!(
        (budget.used_bytes(), route.files.load(Ordering::Relaxed)),
        (0, 1)
    );
}

#[test]
fn a_copy_counts_whatever_is_free_and_nobody_is_served_until_it_is_gone() {
    let budget = Budget::new(1 << 20);
    let route = budget.route();
    let ((one, _), (two, woken)) = (account(&route), account(&route));
    let permit = one.acquire(STEP, STEP).expect("the budget is empty");
    let small = permit.with_copy(STEP);
    assert_eq!(
        (budget.used_bytes(), one.held_bytes()),
        (2 * STEP, 2 * STEP)
    );
    assert!(!permit.is_overdrawn());
    let large = small.with_copy(2 << 20);
    assert!(permit.is_overdrawn());
    drop((permit, small));
    assert!(two.acquire(STEP, 1).is_none() && large.is_overdrawn());
    drop(large);
    assert!(woken.clear());
    let _served = two.acquire(STEP, 1).expect("there is room again");
    assert_eq!((budget.used_bytes(), one.held_bytes()), (STEP, 0));
}

#[test]
fn a_permit_gives_back_what_was_not_read() {
    let budget = Budget::new(1 << 20);
    let (file, _woken) = account(&budget.route());
    let mut permit = file
        .acquire(256 << 10, 4 << 10)
        .expect("the budget is empty");
    permit.shrink_to(100);
    assert_eq!((budget.used_bytes(), file.held_bytes()), (100, 100));
    drop(permit);
    assert_eq!((budget.used_bytes(), file.held_bytes()), (0, 0));
}
