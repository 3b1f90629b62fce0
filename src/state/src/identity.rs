//! The ids of members and clusters, by etcd's rule, so that a cluster of either kind computes the same ones.

use cairn_types::{ClusterId, MemberId};
use sha1::{Digest, Sha1};

/// A member's id at bootstrap: from its sorted peer URLs and the cluster token.
#[must_use]
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut sorted: Vec<_> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    MemberId(first_eight(Sha1::new().chain_update(sorted.concat()).chain_update(token)))
}

/// The id of the cluster that these members found.
#[must_use]
pub fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let hash = sorted.iter().fold(Sha1::new(), |hash, member| hash.chain_update(member.0.to_be_bytes()));
    ClusterId(first_eight(hash))
}

fn first_eight(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_member_with_default_flags_are_those_that_etcd_computes() {
        let member = member_id(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id(&[member]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_urls_and_members_makes_no_difference() {
        let urls = ["http://b:1".to_owned(), "http://a:1".to_owned()];
        let swapped = [urls[1].clone(), urls[0].clone()];
        assert_eq!(member_id(&urls, "t"), member_id(&swapped, "t"));
        assert_eq!(cluster_id(&[MemberId(1), MemberId(2)]), cluster_id(&[MemberId(2), MemberId(1)]));
    }
}
