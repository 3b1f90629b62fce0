//! Small clusters, step by step: what one fault or one change of members does.

use bytes::Bytes;
use cairn_consensus::{
    ConfChange, ConfState, MemberChange, Message, MessageKind, ProposeError, ReplicationState, Role, TransferError,
    Transition,
};
use cairn_types::{LogIndex, MemberId};

use crate::refusals::message;
use crate::world::World;

/// Three members, of which the first leads.
fn three() -> World {
    let mut world = World::new(3);
    world.campaign(1);
    world.settle();
    assert_eq!(world.leader(), Some(1));
    world
}

fn change(changes: &[MemberChange], transition: Transition) -> ConfChange {
    ConfChange { transition, changes: changes.to_vec(), context: Bytes::new() }
}

fn propose(world: &mut World, id: u64, data: &str) -> LogIndex {
    let (_, index) = world.propose(id, data).expect("it leads");
    world.settle();
    index
}

fn applied(world: &World, id: u64) -> LogIndex {
    world.members[&id].applied.0
}

#[test]
fn what_the_leader_proposes_reaches_everybody() {
    let mut world = three();
    let index = propose(&mut world, 1, "a");
    world.pass(2);
    assert_eq!([1, 2, 3].map(|id| applied(&world, id)), [index; 3]);
}

#[test]
fn a_leader_commits_with_the_others_disks_but_delivers_only_what_its_own_holds() {
    let mut world = three();
    world.propose(1, "a").expect("it leads");
    // Member 1's disk is stuck; the others write and answer.
    for _ in 0..5 {
        while !world.network.is_empty() {
            world.deliver(0, false);
        }
        world.flush(2);
        world.flush(3);
    }
    let status = world.members[&1].consensus.status();
    assert_eq!((status.commit, status.persisted), (LogIndex(2), LogIndex(1)));
    assert!(!world.apply_one(1), "nothing is delivered here that this disk does not hold");
    world.flush(1);
    assert!(world.apply_one(1));
    assert_eq!(applied(&world, 1), LogIndex(2));
}

#[test]
fn followers_acknowledge_only_what_is_on_their_disks() {
    let mut world = three();
    world.propose(1, "a").expect("it leads");
    world.flush(1);
    while !world.network.is_empty() {
        world.deliver(0, false);
    }
    assert_eq!(world.members[&1].consensus.status().commit, LogIndex(1));
    world.flush(2);
    world.settle();
    assert_eq!(world.members[&1].consensus.status().commit, LogIndex(2));
}

#[test]
fn a_deposed_leader_answers_no_read_even_when_its_acknowledgements_come_late() {
    let mut world = three();
    propose(&mut world, 1, "a");
    // Member 1 asks; the followers acknowledge, and their answers are kept on the way, twice each.
    world.read(1);
    let held: Vec<(u64, u64, Bytes)> = {
        for _ in 0..world.network.len() {
            world.deliver(0, false);
        }
        world.flush(2);
        world.flush(3);
        std::mem::take(&mut world.network)
    };
    assert!(held.iter().any(|(_, to, bytes)| {
        *to == 1 && Message::decode(bytes.clone()).is_ok_and(|message| message.kind() == MessageKind::HeartbeatResponse)
    }));
    // The first read is answered by them.
    world.network.extend(held.clone());
    world.settle();
    let answered = world.members[&1].answered;
    assert_eq!(answered, 1);
    // Cut off, it does not notice that the others go on without it.
    world.isolate(1);
    for _ in 0..30 {
        world.tick(2);
        world.tick(3);
        world.settle();
    }
    let new_leader = [2, 3].into_iter().find(|id| world.members[id].consensus.role() == Role::Leader);
    propose(&mut world, new_leader.expect("the others elected one"), "b");
    assert_eq!(world.members[&1].consensus.role(), Role::Leader, "it has not noticed");
    world.read(1);
    // The old acknowledgements arrive again: they must not stand for this read (the model checks the answer's index).
    world.cut.clear();
    world.network = held;
    world.network.retain(|(_, to, _)| *to == 1);
    while !world.network.is_empty() {
        world.deliver(0, false);
    }
    world.flush(1);
    assert_eq!(world.members[&1].answered, answered);
}

#[test]
fn an_answer_from_before_a_restart_is_not_taken_for_one_after_it() {
    let mut world = three();
    propose(&mut world, 1, "a");
    world.pass(2);
    // Member 2 asks the leader; the answer is held back.
    world.read(2);
    let mut held = Vec::new();
    for _ in 0..200 {
        for id in [1, 2, 3] {
            world.flush(id);
        }
        let Some((from, to, bytes)) = world.network.pop() else { break };
        let kind = Message::decode(bytes.clone()).expect("a member encoded it").kind();
        world.network.push((from, to, bytes));
        if kind == MessageKind::ReadIndexResponse {
            held.push(world.network.pop().expect("it was just seen"));
        } else {
            let last = world.network.len() - 1;
            world.deliver(last, false);
        }
    }
    assert_eq!(held.len(), 1);
    world.crash(2, 0);
    propose(&mut world, 1, "b");
    world.restart(2);
    world.network.clear();
    world.pass(1);
    world.cut.insert((1, 2));
    world.read(2);
    world.cut.clear();
    world.network = held;
    world.settle();
    assert_eq!(world.members[&2].answered, 0);
}

#[test]
fn a_follower_reads_through_its_leader() {
    let mut world = three();
    propose(&mut world, 1, "a");
    world.pass(1);
    for _ in 0..3 {
        world.read(3);
    }
    world.settle();
    assert_eq!(world.members[&3].answered, 3);
}

#[test]
fn a_learner_gets_the_log_and_does_not_count() {
    let mut world = three();
    world.add_machine(4, 3);
    world.change_members(1, &change(&[MemberChange::AddLearner(MemberId(4))], Transition::Auto)).expect("it fits");
    world.settle();
    let index = propose(&mut world, 1, "a");
    world.pass(2);
    assert_eq!(applied(&world, 4), index);
    // One voter and the learner are no majority of three voters.
    world.isolate(2);
    world.isolate(3);
    world.propose(1, "b").expect("it leads");
    world.settle();
    assert_eq!(world.members[&1].consensus.status().commit, index);
    for _ in 0..100 {
        world.tick(4);
    }
    assert_eq!(world.members[&4].consensus.role(), Role::Follower, "a learner does not stand for election");
}

#[test]
fn a_learner_becomes_a_voter() {
    let mut world = three();
    world.add_machine(4, 3);
    world.change_members(1, &change(&[MemberChange::AddLearner(MemberId(4))], Transition::Auto)).expect("it fits");
    world.pass(2);
    world.change_members(1, &change(&[MemberChange::AddVoter(MemberId(4))], Transition::Auto)).expect("it fits");
    world.pass(2);
    let expected = ConfState::bootstrap([1, 2, 3, 4].map(MemberId));
    for id in 1..=4 {
        assert_eq!(world.members[&id].consensus.conf_state(), expected);
    }
}

#[test]
fn a_joint_change_swaps_members_and_is_left_by_the_leader_itself() {
    let mut world = three();
    world.add_machine(4, 3);
    world.add_machine(5, 3);
    let steps = [
        MemberChange::AddVoter(MemberId(4)),
        MemberChange::AddVoter(MemberId(5)),
        MemberChange::Remove(MemberId(2)),
        MemberChange::Remove(MemberId(3)),
    ];
    world.change_members(1, &change(&steps, Transition::JointImplicit)).expect("it fits");
    world.pass(10);
    let conf = world.consensus(1).conf_state();
    assert_eq!(conf, ConfState::bootstrap([1, 4, 5].map(MemberId)));
    world.crash(2, 0);
    world.crash(3, 0);
    let index = propose(&mut world, 1, "without the removed");
    world.pass(2);
    assert_eq!([1, 4, 5].map(|id| applied(&world, id)), [index; 3]);
}

#[test]
fn an_explicit_joint_change_needs_both_majorities_until_it_is_left() {
    let mut world = three();
    world.add_machine(4, 3);
    let steps = [MemberChange::AddVoter(MemberId(4)), MemberChange::Remove(MemberId(3))];
    world.change_members(1, &change(&steps, Transition::JointExplicit)).expect("it fits");
    world.pass(5);
    assert!(world.consensus(1).conf_state().is_joint());
    let refused = world.change_members(1, &change(&[MemberChange::AddVoter(MemberId(5))], Transition::Auto));
    assert!(matches!(refused, Err(ProposeError::ConfChange(_))), "{refused:?}");
    // 1 and 4 are a majority of neither {1, 2, 4} with 2 gone … of {1, 2, 3} they are none.
    world.isolate(2);
    world.isolate(3);
    let before = world.members[&1].consensus.status().commit;
    world.propose(1, "a").expect("it leads");
    world.settle();
    assert_eq!(world.members[&1].consensus.status().commit, before);
    world.cut.clear();
    world.pass(5);
    world.change_members(1, &ConfChange::leave_joint(Bytes::new())).expect("it is joint");
    world.pass(5);
    assert_eq!(world.consensus(1).conf_state(), ConfState::bootstrap([1, 2, 4].map(MemberId)));
}

#[test]
fn a_leader_that_removes_itself_stops_leading_and_the_others_go_on() {
    let mut world = three();
    world.change_members(1, &change(&[MemberChange::Remove(MemberId(1))], Transition::Auto)).expect("it fits");
    world.settle();
    assert_eq!(world.members[&1].consensus.role(), Role::Follower);
    world.read(1);
    assert!(matches!(world.propose(1, "a"), Err(ProposeError::NotLeader { .. })));
    for _ in 0..40 {
        world.pass(1);
    }
    let leader = world.leader().expect("the others elected one");
    assert_ne!(leader, 1);
    assert_eq!(world.consensus(leader).conf_state(), ConfState::bootstrap([2, 3].map(MemberId)));
    propose(&mut world, leader, "without the first");
}

#[test]
fn the_leadership_is_handed_over_on_request() {
    let mut world = three();
    propose(&mut world, 1, "a");
    assert_eq!(
        world.consensus(2).transfer_leader(MemberId(3)),
        Err(TransferError::NotLeader { leader: Some(MemberId(1)) })
    );
    assert_eq!(world.consensus(1).transfer_leader(MemberId(9)), Err(TransferError::NotAVoter(MemberId(9))));
    world.consensus(1).transfer_leader(MemberId(3)).expect("it leads");
    assert_eq!(world.propose(1, "b"), Err(ProposeError::Transferring(MemberId(3))));
    world.settle();
    assert_eq!(world.leader(), Some(3));
    propose(&mut world, 3, "c");
}

#[test]
fn a_member_that_was_cut_off_does_not_disturb_the_others_when_it_returns() {
    let mut world = three();
    world.isolate(3);
    for _ in 0..100 {
        world.tick(3);
        world.settle();
    }
    let term = world.consensus(1).term();
    world.cut.clear();
    world.pass(30);
    assert_eq!((world.leader(), world.consensus(1).term()), (Some(1), term));
}

#[test]
fn a_leader_that_hears_no_majority_stops_leading() {
    let mut world = three();
    world.isolate(1);
    world.pass(25);
    assert_ne!(world.members[&1].consensus.role(), Role::Leader);
}

#[test]
fn reads_that_a_change_of_leader_leaves_without_an_answer_are_reported() {
    let mut world = three();
    world.isolate(1);
    world.read(1);
    world.settle();
    assert_eq!(world.members[&1].reads.len(), 1, "no quorum confirms it");
    world.pass(25);
    let member = &world.members[&1];
    assert_eq!((member.reads.len(), member.answered), (0, 0), "it was dropped when the member stopped leading");
}

#[test]
fn a_late_refusal_does_not_move_a_leader_behind_what_is_known_to_match() {
    let mut world = three();
    let matched = propose(&mut world, 1, "a");
    let term = world.consensus(1).term().0;
    // It probes after a send that failed, and now hears what member 2 said long ago.
    world.consensus(1).report_unreachable(MemberId(2));
    let refusal = message(&[(1, 4), (2, 1), (3, 2), (4, term), (6, matched.0), (10, 1)], &[]);
    world.consensus(1).step(refusal).expect("it can be true");
    assert_eq!(world.consensus(1).status().progress[&MemberId(2)].next, matched.next());
}

#[test]
fn a_laggard_is_served_from_the_disk_when_memory_holds_its_entries_no_more() {
    let mut world = three();
    world.isolate(3);
    for number in 0..40 {
        propose(&mut world, 1, &format!("command {number}"));
    }
    world.consensus(1).compact_cache(LogIndex(u64::MAX));
    assert_eq!(world.consensus(1).status().cached_bytes, 0);
    world.cut.clear();
    world.pass(10);
    assert_eq!(applied(&world, 3), applied(&world, 1));
    assert_eq!(world.consensus(1).take_log_fault(), None);
}

#[test]
fn a_laggard_behind_the_released_log_gets_a_snapshot() {
    let mut world = three();
    world.isolate(3);
    for number in 0..40 {
        propose(&mut world, 1, &format!("command {number}"));
    }
    for id in [1, 2] {
        world.checkpoint(id, 0);
        world.consensus(id).compact_cache(LogIndex(u64::MAX));
    }
    world.cut.clear();
    world.tick(1);
    while !world.network.is_empty() || world.flush_one(3) {
        if !world.network.is_empty() {
            world.deliver(0, false);
        }
    }
    let status = world.consensus(1).status();
    assert_eq!(status.snapshot_wanted, [MemberId(3)].into());
    world.pass(10);
    assert_eq!(applied(&world, 3), applied(&world, 1));
    assert_eq!(world.disks[&3].contents().base.0, LogIndex(41), "its log starts after the snapshot");
    assert_eq!(world.consensus(1).status().progress[&MemberId(3)].state, ReplicationState::Replicate);
}
