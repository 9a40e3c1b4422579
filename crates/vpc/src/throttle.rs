//! The request limits: a token bucket per action, with the sizes that EC2 documents.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::faults::Call;
use crate::world::Throttling;

/// How many tokens a bucket holds at most, and how many come back per second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    capacity: f64,
    per_second: f64,
}

const fn size(capacity: f64, per_second: f64) -> Size {
    Size { capacity, per_second }
}

/// What is left of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    tokens: f64,
    as_of: Timestamp,
}

/// The buckets that have been used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets {
    left: BTreeMap<String, Bucket>,
}

impl Buckets {
    /// Takes the tokens of a call, or none when one of its buckets has too few.
    pub(crate) fn take(&mut self, settings: &Throttling, call: &Call<'_>, now: Timestamp) -> bool {
        if !settings.enabled {
            return true;
        }
        let mut wanted = vec![(request_bucket(call), 1.0)];
        if call.instances > 0
            && let Some(bucket) = instance_bucket(call.action)
        {
            wanted.push((bucket, f64::from(call.instances)));
        }
        let refilled: Vec<(String, Bucket, f64)> = wanted
            .into_iter()
            .map(|((name, size), cost)| {
                let bucket = self.refilled(&name, size, settings.scale, now);
                (name, bucket, cost)
            })
            .collect();
        let enough = refilled.iter().all(|(_, bucket, cost)| bucket.tokens >= *cost);
        for (name, bucket, cost) in refilled {
            let tokens = if enough { bucket.tokens - cost } else { bucket.tokens };
            self.left.insert(name, Bucket { tokens, ..bucket });
        }
        enough
    }

    fn refilled(&self, name: &str, size: Size, scale: f64, now: Timestamp) -> Bucket {
        let capacity = size.capacity * scale;
        let Some(bucket) = self.left.get(name) else { return Bucket { tokens: capacity, as_of: now } };
        let elapsed = now.duration_since(bucket.as_of).as_secs_f64().max(0.0);
        let tokens = (bucket.tokens + elapsed * size.per_second * scale).min(capacity);
        Bucket { tokens, as_of: now.max(bucket.as_of) }
    }
}

/// The bucket of the request itself.
fn request_bucket(call: &Call<'_>) -> (String, Size) {
    let action = call.action;
    let reads = action.starts_with("Describe") || action.starts_with("Get");
    let broad = matches!(
        action,
        "DescribeInstances"
            | "DescribeNetworkInterfaces"
            | "DescribeSecurityGroups"
            | "DescribeVolumes"
            | "DescribeSnapshots"
            | "DescribeSpotInstanceRequests"
            | "DescribeInstanceStatus"
    );
    if broad && !call.narrowed {
        return (format!("{action} without filter and paging"), size(50.0, 10.0));
    }
    let size = match action {
        _ if reads => size(100.0, 20.0),
        "AssignPrivateIpAddresses"
        | "UnassignPrivateIpAddresses"
        | "CreateNetworkInterface"
        | "DeleteNetworkInterface"
        | "ModifyNetworkInterfaceAttribute"
        | "TerminateInstances" => size(100.0, 5.0),
        "CreateTags" | "DeleteTags" => size(100.0, 10.0),
        "CreateSubnetCidrReservation" | "DeleteSubnetCidrReservation" => size(5.0, 1.0),
        "RunInstances" => size(5.0, 2.0),
        _ => size(50.0, 5.0),
    };
    (action.to_owned(), size)
}

/// The bucket of the instances that a request launches or terminates.
fn instance_bucket(action: &str) -> Option<(String, Size)> {
    let per_second = match action {
        "RunInstances" => 2.0,
        "TerminateInstances" => 20.0,
        _ => return None,
    };
    Some((format!("{action} instances"), size(1000.0, per_second)))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
    }

    /// How many calls in a row are admitted at one moment.
    fn burst(buckets: &mut Buckets, call: &Call<'_>, now: Timestamp) -> usize {
        (0..10_000).take_while(|_| buckets.take(&Throttling::default(), call, now)).count()
    }

    #[test]
    fn every_action_has_its_documented_capacity_and_refill() {
        for (action, capacity, refill) in [
            ("DescribeSubnets", 100, 20),
            ("DescribeInstances", 100, 20),
            ("AttachNetworkInterface", 50, 5),
            ("AssignPrivateIpAddresses", 100, 5),
            ("CreateTags", 100, 10),
            ("CreateVpcPeeringConnection", 50, 5),
            ("CreateSubnetCidrReservation", 5, 1),
            ("RunInstances", 5, 2),
        ] {
            let (mut buckets, call) = (Buckets::default(), Call::new(action));
            assert_eq!(burst(&mut buckets, &call, at(0)), capacity, "{action}");
            assert_eq!(burst(&mut buckets, &call, at(1_000)), refill, "{action}");
            assert_eq!(burst(&mut buckets, &call, at(3_600_000)), capacity, "{action}");
        }
    }

    #[test]
    fn a_broad_describe_has_a_smaller_bucket_of_its_own() {
        let mut buckets = Buckets::default();
        let broad = Call { narrowed: false, ..Call::new("DescribeNetworkInterfaces") };
        assert_eq!(burst(&mut buckets, &broad, at(0)), 50);
        assert_eq!(burst(&mut buckets, &Call::new("DescribeNetworkInterfaces"), at(0)), 100);
    }

    #[test]
    fn actions_do_not_share_a_bucket() {
        let mut buckets = Buckets::default();
        burst(&mut buckets, &Call::new("CreateTags"), at(0));
        assert_eq!(burst(&mut buckets, &Call::new("DeleteTags"), at(0)), 100);
    }

    #[test]
    fn launched_instances_count_too_and_a_refused_call_takes_nothing() {
        let mut buckets = Buckets::default();
        let call = |instances| Call { instances, ..Call::new("RunInstances") };
        assert!(buckets.take(&Throttling::default(), &call(1_000), at(0)));
        assert!(!buckets.take(&Throttling::default(), &call(1), at(0)));
        assert!(buckets.take(&Throttling::default(), &call(2), at(1_000)));
    }

    #[test]
    fn throttling_can_be_scaled_and_switched_off() {
        let double = Throttling { enabled: true, scale: 2.0 };
        let off = Throttling { enabled: false, scale: 1.0 };
        let (mut buckets, call) = (Buckets::default(), Call::new("RunInstances"));
        assert_eq!((0..100).take_while(|_| buckets.take(&double, &call, at(0))).count(), 10);
        assert_eq!((0..100).take_while(|_| buckets.take(&off, &call, at(0))).count(), 100);
    }
}
