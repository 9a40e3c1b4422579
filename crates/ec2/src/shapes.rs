//! Checks every parameter that is sent and every element that is read against botocore's model of EC2, the authority on both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use freeboard_address::{
    Addresses, AssociationId, AttachmentId, EniId, InstanceId, Prefixes, ReservationId, RouteTableId, SecurityGroupId,
    SubnetId, VpcId,
};
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use crate::client::Operation;
use crate::operations::*;
use crate::{Action, Filter};

/// A deserializer that gives every field of every structure a value and records the paths of the leaves: the elements that
/// an answer's type reads.
struct Tracer<'a> {
    path: String,
    leaves: &'a RefCell<BTreeSet<String>>,
}

impl Tracer<'_> {
    /// A text that the leaf of this name accepts.
    fn leaf(&self) -> &'static str {
        self.leaves.borrow_mut().insert(self.path.clone());
        let name = self.path.rsplit('.').next().unwrap_or_default();
        match name {
            "cidrBlock" | "cidr" | "ipv4Prefix" | "destinationCidrBlock" => "10.0.0.0/28",
            "privateIpAddress" => "10.0.0.1",
            "macAddress" => "02:00:00:00:00:01",
            "launchTime" => "2026-01-01T00:00:00.000Z",
            _ => "text",
        }
    }
}

macro_rules! leaves {
    ($($method:ident => $visit:ident($value:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.leaf();
            visitor.$visit($value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    leaves! {
        deserialize_bool => visit_bool(true);
        deserialize_i32 => visit_i32(1);
        deserialize_i64 => visit_i64(1);
        deserialize_u32 => visit_u32(1);
        deserialize_u64 => visit_u64(1);
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.leaf())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { parent: self, rest: fields, current: "" })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map enum
        identifier ignored_any
    }
}

struct Once<'a>(Option<Tracer<'a>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|tracer| seed.deserialize(tracer)).transpose()
    }
}

struct Fields<'a> {
    parent: Tracer<'a>,
    rest: &'static [&'static str],
    current: &'static str,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((first, rest)) = self.rest.split_first() else { return Ok(None) };
        (self.current, self.rest) = (first, rest);
        seed.deserialize((*first).into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let separator = if self.parent.path.is_empty() { "" } else { "." };
        let path = format!("{}{separator}{}", self.parent.path, self.current);
        seed.deserialize(Tracer { path, leaves: self.parent.leaves })
    }
}

/// What is sent and read, by action.
#[derive(Default)]
struct Shapes(BTreeMap<Action, (BTreeSet<String>, BTreeSet<String>)>);

impl Shapes {
    fn add<O: Operation>(&mut self, operation: &O)
    where
        O::Answer: for<'de> Deserialize<'de>,
    {
        let leaves = RefCell::default();
        let answer = O::Answer::deserialize(Tracer { path: String::new(), leaves: &leaves });
        assert!(answer.is_ok(), "{}: {:?}", O::ACTION, answer.err());
        let entry = self.0.entry(O::ACTION).or_default();
        entry.0.extend(operation.parameters().iter().map(|(name, _)| name.to_owned()));
        entry.1.extend(leaves.into_inner());
    }
}

fn filters() -> Vec<Filter> {
    vec![Filter::new("vpc-id", ["a", "b"])]
}

fn tags() -> BTreeMap<String, String> {
    BTreeMap::from([("a".to_owned(), "1".to_owned())])
}

fn add_networks(shapes: &mut Shapes) {
    let (vpc, subnet, cidr) = (VpcId::new("vpc-1"), SubnetId::new("subnet-1"), "10.0.0.0/28".parse().unwrap());
    shapes.add(&DescribeVpcs { vpcs: vec![vpc.clone()], filters: filters() });
    shapes.add(&DescribeVpcs::default());
    shapes.add(&AssociateVpcCidrBlock { vpc: vpc.clone(), cidr });
    shapes.add(&DisassociateVpcCidrBlock { association: AssociationId::new("a") });
    shapes.add(&DescribeVpcPeeringConnections { filters: filters() });
    shapes.add(&DescribeAvailabilityZones { zone_names: vec!["z".to_owned()], filters: filters() });
    shapes.add(&DescribeSubnets { subnets: vec![subnet.clone()], filters: filters() });
    shapes.add(&DescribeSubnets::default());
    shapes.add(&CreateSubnet { vpc, cidr, zone: "z".to_owned(), tags: tags() });
    shapes.add(&DeleteSubnet { subnet: subnet.clone() });
    shapes.add(&CreateSubnetCidrReservation {
        subnet: subnet.clone(),
        cidr,
        reservation_type: ReservationType::Prefix,
        description: Some("d".to_owned()),
        tags: tags(),
    });
    shapes.add(&DeleteSubnetCidrReservation { reservation: ReservationId::new("scr-1") });
    shapes.add(&GetSubnetCidrReservations { subnet: subnet.clone(), filters: filters() });
    let route_table = RouteTableId::new("rtb-1");
    shapes.add(&DescribeRouteTables { route_tables: vec![route_table.clone()], filters: filters() });
    shapes.add(&DescribeRouteTables::default());
    shapes.add(&AssociateRouteTable { route_table, subnet });
    shapes.add(&DisassociateRouteTable { association: AssociationId::new("a") });
    shapes.add(&DescribeSecurityGroups { groups: vec![SecurityGroupId::new("sg-1")], filters: filters() });
    shapes.add(&DescribeSecurityGroups::default());
    shapes.add(&CreateTags { resources: vec!["eni-1".to_owned()], tags: tags() });
    shapes.add(&DescribeTags { filters: filters() });
}

fn add_interfaces(shapes: &mut Shapes) {
    let (interface, attachment) = (EniId::new("eni-1"), AttachmentId::new("eni-attach-1"));
    let (addresses, prefixes) = (vec![Ipv4Addr::LOCALHOST], vec!["10.0.0.0/28".parse().unwrap()]);
    let takes = [
        Take::Addresses(Addresses(1)),
        Take::Prefixes(Prefixes(1)),
        Take::TheseAddresses(addresses.clone()),
        Take::ThesePrefixes(prefixes.clone()),
    ];
    for take in takes {
        let mut create = CreateNetworkInterface::new(SubnetId::new("subnet-1"));
        create.description = Some("d".to_owned());
        create.groups = vec![SecurityGroupId::new("sg-1")];
        create.tags = tags();
        create.take = Some(take.clone());
        shapes.add(&create);
        shapes.add(&AssignPrivateIpAddresses { interface: interface.clone(), take, allow_reassignment: true });
    }
    shapes.add(&DescribeNetworkInterfaces { interfaces: vec![interface.clone()], filters: filters() });
    shapes.add(&DescribeNetworkInterfaces::default());
    shapes.add(&AttachNetworkInterface {
        interface: interface.clone(),
        instance: InstanceId::new("i-1"),
        device_index: 1,
        network_card: Some(0),
    });
    let changes = [
        InterfaceChange::DeleteOnTermination { attachment: attachment.clone(), delete: true },
        InterfaceChange::Groups(vec![SecurityGroupId::new("sg-1")]),
        InterfaceChange::SourceDestCheck(true),
        InterfaceChange::Description("d".to_owned()),
    ];
    for change in changes {
        shapes.add(&ModifyNetworkInterfaceAttribute { interface: interface.clone(), change });
    }
    shapes.add(&DetachNetworkInterface { attachment, force: true });
    shapes.add(&DeleteNetworkInterface { interface: interface.clone() });
    shapes.add(&UnassignPrivateIpAddresses { interface, addresses, prefixes });
}

fn add_instances(shapes: &mut Shapes) {
    let instances = vec![InstanceId::new("i-1")];
    shapes.add(&DescribeInstances { instances: instances.clone(), filters: filters() });
    shapes.add(&DescribeInstances::default());
    let mut run = RunInstances::new("ami-1", "t3.small", SubnetId::new("subnet-1"));
    run.groups = vec![SecurityGroupId::new("sg-1")];
    run.private_ip_address = Some(Ipv4Addr::LOCALHOST);
    run.metadata_tokens_required = true;
    run.metadata_hop_limit = Some(2);
    run.tags = tags();
    shapes.add(&run);
    shapes.add(&TerminateInstances { instances });
    shapes.add(&DescribeInstanceTypes { instance_types: vec!["t3.small".to_owned()], filters: filters() });
    shapes.add(&DescribeInstanceTypes::default());
}

fn shapes() -> Shapes {
    let mut shapes = Shapes::default();
    add_networks(&mut shapes);
    add_interfaces(&mut shapes);
    add_instances(&mut shapes);
    shapes
}

/// The Python that has botocore: `FREEBOARD_PYTHON`, or the one that `cargo xtask tools` installs.
fn python() -> PathBuf {
    let installed = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/python/bin/python"));
    let python = std::env::var_os("FREEBOARD_PYTHON").map_or_else(installed, PathBuf::from);
    assert!(
        python.exists(),
        "no Python with botocore at {}: run `cargo xtask tools`, or name one in FREEBOARD_PYTHON",
        python.display()
    );
    python
}

/// The lines that the check prints about these shapes.
fn complaints(shapes: &serde_json::Value) -> String {
    let mut check = Command::new(python())
        .args(["-c", include_str!("../tests/botocore_shapes.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(shapes.to_string().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "the check against botocore's model failed to run: install botocore with `cargo xtask tools`"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_action_is_covered_by_the_check() {
    let covered: Vec<Action> = shapes().0.into_keys().collect();
    assert_eq!(covered, Action::ALL);
}

#[test]
fn everything_that_is_sent_and_read_exists_in_botocore_s_model() {
    let shapes: serde_json::Map<String, serde_json::Value> = shapes()
        .0
        .into_iter()
        .map(|(action, (sent, read))| (action.to_string(), json!({ "parameters": sent, "elements": read })))
        .collect();
    let read: usize = shapes.values().map(|shape| shape["elements"].as_array().map_or(0, Vec::len)).sum();
    assert!(read > 150, "only {read} elements were traced");
    assert_eq!(complaints(&shapes.into()), "");
}

#[test]
fn a_name_that_is_not_in_the_model_is_found() {
    let wrong = json!({
        "DescribeVpcs": { "parameters": ["VpcId", "VpcIds.1", "VpcId.1"], "elements": ["vpcSet.member.vpcId", "vpcSet.item.vpcId"] },
        "DescribeNothing": { "parameters": [], "elements": [] },
    });
    assert_eq!(
        complaints(&wrong).lines().collect::<Vec<_>>(),
        [
            "DescribeNothing: no such operation",
            "DescribeVpcs: no parameter VpcId",
            "DescribeVpcs: no parameter VpcIds.1",
            "DescribeVpcs: no element vpcSet.member.vpcId",
        ]
    );
}
