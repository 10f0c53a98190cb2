use super::*;
use crate::core::ids::LeaseKey;
use crate::core::lease::Counter;
use crate::core::sequence::{Position, SequenceNumber};

const F: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Moment {
    Moment::from_origin(Duration::from_secs(seconds))
}

fn place(number: u64) -> ExtendedSequenceNumber {
    ExtendedSequenceNumber::record(SequenceNumber::parse(&number.to_string()).unwrap(), 0)
}

fn me() -> WorkerId {
    WorkerId::new("me")
}

fn row(counter: u64, owner: &str) -> Lease {
    let start = ExtendedSequenceNumber::sentinel(Position::TrimHorizon);
    let mut lease = Lease::new(LeaseKey::new("s"), start, vec![], None);
    lease.counter = Counter(counter);
    lease.owner = (!owner.is_empty()).then(|| WorkerId::new(owner));
    lease
}

fn tenure() -> Tenure {
    Tenure::begin(me(), row(5, "me"), at(0))
}

#[test]
fn a_condition_that_fails_means_that_the_lease_is_lost() {
    let cases = [
        (None, Loss::RowGone),
        (Some(row(6, "b")), Loss::TakenBy(WorkerId::new("b"))),
        (Some(row(6, "")), Loss::Changed),
        (Some(row(6, "me")), Loss::SameWorkerId),
    ];
    for (seen, loss) in cases {
        let mut tenure = tenure();
        assert_eq!(tenure.refused(seen), Lesson::Lost(loss));
        assert!(tenure.is_over());
    }
}

#[test]
fn an_earlier_write_that_arrived_late_is_recognised_and_does_not_make_the_lease_fresh() {
    let mut tenure = tenure();
    let first = tenure.lease().renewal();
    let lesson = tenure.unanswered(first.clone(), at(1), Some(row(5, "me")));
    assert_eq!(lesson, Lesson::InDoubt);
    let arrived = first.applied_to(tenure.lease());
    assert_eq!(tenure.refused(Some(arrived)), Lesson::EarlierOneArrived);
    assert_eq!(tenure.lease().counter, Counter(6));
    assert_eq!(tenure.stale_at(F), at(10), "as before");
    assert!(tenure.in_doubt().is_empty());
}

#[test]
fn of_two_equal_writes_the_earlier_one_counts() {
    let mut tenure = tenure();
    let renewal = tenure.lease().renewal();
    tenure.doubt(renewal.clone(), at(1));
    let arrived = renewal.applied_to(tenure.lease());
    let lesson = tenure.unanswered(renewal, at(4), Some(arrived));
    assert_eq!(lesson, Lesson::Applied);
    assert_eq!(tenure.last_sent(), at(1));
}

#[test]
fn a_lost_answer_is_resolved_by_reading() {
    let mut tenure = tenure();
    let update = tenure.checkpoint(&place(7)).unwrap();
    let arrived = update.applied_to(tenure.lease());
    let lesson = tenure.unanswered(update, at(4), Some(arrived));
    assert_eq!(lesson, Lesson::Applied);
    assert_eq!(tenure.lease().checkpoint, place(7));
    assert_eq!(tenure.last_sent(), at(4));
    // The table is further now, and stays there.
    assert_eq!(tenure.checkpoint(&place(6)), None);
}

#[test]
fn a_hand_off_is_learnt_and_does_not_end_the_lease() {
    let mut tenure = tenure();
    let mut moved = row(5, "b");
    moved.checkpoint_owner = Some(me());
    assert_eq!(tenure.refused(Some(moved)), Lesson::HandOffBegan);
    assert_eq!(tenure.handing_off_to(), Some(&WorkerId::new("b")));
    assert_eq!(tenure.strange_owner(), None);
    // It ends in favour of the next owner, whoever was named as heir.
    let update = tenure.giving_up(Some(&WorkerId::new("c"))).unwrap();
    let after = update.applied_to(tenure.lease());
    assert_eq!(
        (after.owner, after.checkpoint_owner),
        (Some(WorkerId::new("b")), None)
    );
}

#[test]
fn a_row_edited_by_hand_is_nobodys_fault() {
    let cases = [
        (("me", ""), None),
        (("b", "me"), None),
        (("b", ""), Some(Loss::TakenBy(WorkerId::new("b")))),
        (("me", "b"), Some(Loss::TakenBy(WorkerId::new("b")))),
        (("me", "me"), Some(Loss::Changed)),
        (("", ""), Some(Loss::Changed)),
    ];
    for ((owner, old), loss) in cases {
        let mut edited = row(6, owner);
        edited.checkpoint_owner = (!old.is_empty()).then(|| WorkerId::new(old));
        let mut tenure = tenure();
        tenure.applied(edited, at(1));
        assert_eq!(tenure.strange_owner(), loss, "{owner} {old}");
    }
}

#[test]
fn an_heir_gets_the_lease_unless_it_is_this_worker() {
    let owner_after = |heir: Option<&str>| {
        let tenure = tenure();
        let heir = heir.map(WorkerId::new);
        let update = tenure.giving_up(heir.as_ref()).unwrap();
        update.applied_to(tenure.lease()).owner
    };
    assert_eq!(owner_after(Some("b")), Some(WorkerId::new("b")));
    assert_eq!(owner_after(Some("me")), None);
    assert_eq!(owner_after(None), None);
}

#[test]
fn a_hand_over_that_arrived_late_ends_the_tenure() {
    let mut moved = row(5, "b");
    moved.checkpoint_owner = Some(me());
    let mut tenure = Tenure::begin(me(), moved, at(0));
    let hand_over = tenure.giving_up(None).unwrap();
    tenure.doubt(hand_over.clone(), at(1));
    let arrived = hand_over.applied_to(tenure.lease());
    // The second try is refused, because the first one arrived.
    let lesson = tenure.refused(Some(arrived));
    assert_eq!(lesson, Lesson::Lost(Loss::TakenBy(WorkerId::new("b"))));
    assert!(tenure.is_over());
}

#[test]
fn a_release_that_arrived_late_ends_the_tenure() {
    let mut tenure = tenure();
    let release = tenure.giving_up(None).unwrap();
    tenure.doubt(release.clone(), at(1));
    let arrived = release.applied_to(tenure.lease());
    assert_eq!(tenure.refused(Some(arrived)), Lesson::Lost(Loss::Changed));
    assert!(tenure.is_over());
}

#[test]
fn a_lease_that_was_tried_for_twice_is_fresh_from_the_first_time() {
    let mut attempts = Attempts::default();
    let take = row(5, "b").taken_by(&me());
    attempts.unresolved(take.clone(), at(1));
    attempts.unresolved(take.clone(), at(4));
    assert_eq!(attempts.sent_first(&take), Some(at(1)));
    // Somebody wrote meanwhile: the first one fails for certain.
    let later = row(6, "b").taken_by(&me());
    attempts.unresolved(later.clone(), at(6));
    assert_eq!(attempts.sent_first(&take), None);
    assert_eq!(attempts.sent_first(&later), Some(at(6)));
    attempts.settled(&later.key);
    assert_eq!(attempts, Attempts::default());
}
