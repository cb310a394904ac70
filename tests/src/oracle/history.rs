//! Decides whether a history of operations on one user is linearizable, by Wing and Gong's search
//! with Lowe's memoisation (<https://www.cs.ox.ac.uk/people/gavin.lowe/LinearizabiltyTesting/paper.pdf>).

use std::collections::HashSet;

/// What a client requested. Each value is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST`, with this value.
    Create(u64),
    /// `PUT`, with this value.
    Replace(u64),
    /// `GET`.
    Read,
    /// `DELETE`.
    Delete,
}

/// What the client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 200, with this value.
    Done(u64),
    /// The user already exists, or there is none.
    Rejected,
    /// A 503: the operation may have been applied, may be applied later, or may never be applied.
    Unknown,
}

/// An operation that a client called, with the times of its request and response in any unit.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What was requested.
    pub action: Action,
    /// What the client saw.
    pub outcome: Outcome,
    /// When it was requested.
    pub start: u64,
    /// When its response was received.
    pub end: u64,
}

/// How often an operation takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Once, between its request and its response.
    Once,
    /// Once or twice: a retry of a write whose response was lost may repeat it.
    OnceOrTwice,
    /// Once or twice, and the second time perhaps after the response: an attempt that the service
    /// gave up may arrive late. Only a call that took at least this long has such an attempt.
    OnceAndLater(u64),
}

/// Returns whether some order of these operations explains every outcome. The user does not exist
/// at first.
pub fn is_linearizable(history: &[Call], effects: Effects) -> bool {
    let mut seen = HashSet::new();
    let mut stack = vec![(vec![Progress::Open; history.len()], None)];
    while let Some((progress, state)) = stack.pop() {
        let open = || (0..history.len()).filter(|i| progress[*i] < Progress::Done);
        // The next operation in the order must start before the first response of an open one.
        let end = |i: usize| match history[i].outcome {
            Outcome::Unknown => u64::MAX,
            _ => history[i].end,
        };
        let first_end = open().map(end).min().unwrap_or(u64::MAX);
        if first_end == u64::MAX {
            return true;
        }
        for i in open().filter(|i| history[*i].start <= first_end) {
            let Call {
                action, outcome, ..
            } = history[i];
            let mut next = |outcome, reached| {
                let mut state = state;
                if apply(&mut state, action, outcome) {
                    let mut progress = progress.clone();
                    progress[i] = reached;
                    if seen.insert((progress.clone(), state)) {
                        stack.push((progress, state));
                    }
                }
            };
            next(outcome, Progress::Done);
            if effects != Effects::Once && progress[i] == Progress::Open {
                next(Outcome::Unknown, Progress::Begun);
            }
        }
        let Effects::OnceAndLater(slow) = effects else {
            continue;
        };
        for (i, call) in history.iter().enumerate() {
            if progress[i] == Progress::Done && call.end - call.start >= slow {
                let (mut progress, mut state) = (progress.clone(), state);
                progress[i] = Progress::Repeated;
                apply(&mut state, call.action, Outcome::Unknown);
                if seen.insert((progress.clone(), state)) {
                    // Tried last, because it is rare.
                    stack.insert(0, (progress, state));
                }
            }
        }
    }
    false
}

/// How far an operation has been placed in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Progress {
    Open,
    /// An attempt whose response was lost took effect.
    Begun,
    Done,
    /// An attempt that was late took effect after the operation.
    Repeated,
}

/// Applies an operation to the user's value, and returns whether it can have this outcome.
fn apply(user: &mut Option<u64>, action: Action, outcome: Outcome) -> bool {
    let before = *user;
    match (action, before) {
        (Action::Create(value), None) | (Action::Replace(value), Some(_)) => *user = Some(value),
        (Action::Delete, _) => *user = None,
        _ => {}
    }
    let result = match action {
        Action::Create(_) if before.is_some() => None,
        Action::Create(_) | Action::Replace(_) => *user,
        Action::Read | Action::Delete => before,
    };
    outcome == Outcome::Unknown || outcome == result.map_or(Outcome::Rejected, Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: Action, outcome: Outcome, start: u64, end: u64) -> Call {
        Call {
            action,
            outcome,
            start,
            end,
        }
    }

    #[test]
    fn a_history_that_can_be_ordered_is_linearizable() {
        let history = [
            call(Action::Create(1), Outcome::Done(1), 0, 10),
            call(Action::Read, Outcome::Rejected, 1, 3),
            call(Action::Read, Outcome::Done(1), 2, 4),
            call(Action::Replace(2), Outcome::Unknown, 11, 12),
            call(Action::Read, Outcome::Done(1), 13, 14),
            call(Action::Read, Outcome::Done(2), 15, 16),
            call(Action::Delete, Outcome::Done(2), 17, 18),
        ];
        assert!(is_linearizable(&history, Effects::Once));
    }

    #[test]
    fn a_read_of_a_replaced_value_is_not_linearizable() {
        let history = [
            call(Action::Create(1), Outcome::Done(1), 0, 1),
            call(Action::Replace(2), Outcome::Done(2), 2, 3),
            call(Action::Read, Outcome::Done(1), 4, 5),
        ];
        assert!(!is_linearizable(&history, Effects::Once));
        assert!(!is_linearizable(&history, Effects::OnceOrTwice));
    }

    #[test]
    fn two_creations_of_one_user_are_not_linearizable() {
        let history = [
            call(Action::Create(1), Outcome::Done(1), 0, 5),
            call(Action::Create(2), Outcome::Done(2), 0, 5),
        ];
        assert!(!is_linearizable(&history, Effects::OnceOrTwice));
    }

    #[test]
    fn a_replacement_that_is_repeated_takes_effect_twice() {
        let history = [
            call(Action::Create(1), Outcome::Done(1), 0, 1),
            call(Action::Replace(2), Outcome::Done(2), 2, 10),
            call(Action::Read, Outcome::Done(2), 3, 4),
            call(Action::Replace(3), Outcome::Done(3), 5, 6),
            call(Action::Read, Outcome::Done(2), 11, 12),
        ];
        assert!(!is_linearizable(&history, Effects::Once));
        assert!(is_linearizable(&history, Effects::OnceOrTwice));
    }

    #[test]
    fn a_late_attempt_may_undo_a_later_write() {
        let mut history = [
            call(Action::Create(1), Outcome::Done(1), 0, 1),
            call(Action::Replace(2), Outcome::Done(2), 2, 10),
            call(Action::Replace(3), Outcome::Done(3), 11, 12),
            call(Action::Read, Outcome::Done(2), 13, 14),
        ];
        assert!(!is_linearizable(&history, Effects::OnceOrTwice));
        assert!(!is_linearizable(&history, Effects::OnceAndLater(9)));
        assert!(is_linearizable(&history, Effects::OnceAndLater(8)));
        // It takes effect only once.
        history[2].outcome = Outcome::Done(4);
        assert!(!is_linearizable(&history, Effects::OnceAndLater(8)));
    }

    /// Without memoisation, all orders of these operations would be tried, which takes hours.
    #[test]
    fn many_concurrent_operations_are_checked_quickly() {
        let writes = (0..12).map(|i| call(Action::Replace(i), Outcome::Done(i), 1, 2));
        let mut history = vec![call(Action::Create(99), Outcome::Done(99), 0, 0)];
        history.extend(writes);
        history.push(call(Action::Read, Outcome::Done(11), 3, 4));
        assert!(is_linearizable(&history, Effects::Once));
        history.push(call(Action::Read, Outcome::Done(99), 5, 6));
        assert!(!is_linearizable(&history, Effects::Once));
    }
}
