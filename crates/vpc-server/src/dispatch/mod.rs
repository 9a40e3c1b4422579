//! Which actions exist, and how each one is decoded, carried out and answered.

mod instances;
mod interfaces;
mod network;
mod routing;

use freeboard_vpc::{ApiError, Call, Cloud, Describe, Filter, Page, Tag, TagSpecification};
use jiff::Timestamp;

use crate::encode;
use crate::query::{Member, Query};
use crate::xml::{Encode, Xml};

/// One action of the EC2 API.
pub(crate) struct Action {
    /// Its name on the wire.
    pub(crate) name: &'static str,
    /// Whether it takes `DryRun`; some actions of the real service do not.
    dry_run: bool,
    prepare: fn(&Query) -> Result<Operation, ApiError>,
}

/// A decoded request, ready to be carried out.
pub(crate) struct Operation(Box<RunIt>);

type RunIt = dyn FnOnce(&mut Cloud, Timestamp) -> Result<Body, ApiError> + Send;

/// The answer of a request that was carried out, ready to be written.
pub(crate) struct Body(Box<dyn FnOnce(&mut Xml) + Send>);

impl Action {
    const fn new(name: &'static str, prepare: fn(&Query) -> Result<Operation, ApiError>) -> Self {
        Self { name, dry_run: true, prepare }
    }

    const fn without_dry_run(name: &'static str, prepare: fn(&Query) -> Result<Operation, ApiError>) -> Self {
        Self { name, dry_run: false, prepare }
    }

    /// Every action, in the order of the service's modules.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [network::ACTIONS, routing::ACTIONS, interfaces::ACTIONS, instances::ACTIONS].into_iter().flatten()
    }

    /// The action that the request names.
    ///
    /// # Errors
    /// `MissingAction` when it names none, `InvalidAction` when there is none of that name.
    pub(crate) fn of(query: &Query) -> Result<&'static Self, ApiError> {
        let Some(name) = query.text("Action") else {
            return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
        };
        Self::all().find(|action| action.name == name).ok_or_else(|| ApiError::invalid_action(name))
    }

    /// Decodes the whole request, so that one with a bad parameter changes nothing.
    ///
    /// # Errors
    /// For the first bad, missing or unknown parameter; `DryRunOperation` for a good request that is not to be carried out.
    pub(crate) fn prepare(&self, query: &Query) -> Result<Operation, ApiError> {
        let operation = (self.prepare)(query)?;
        let dry_run = if self.dry_run { query.flag("DryRun")?.unwrap_or(false) } else { false };
        query.finish()?;
        if dry_run { Err(ApiError::dry_run()) } else { Ok(operation) }
    }
}

/// The request as the front door weighs it.
pub(crate) fn call<'a>(action: &'static Action, query: &Query) -> Call<'a> {
    let narrowed = query.names().any(|name| name != "Action" && name != "Version");
    let instances = match action.name {
        "RunInstances" => query.text("MaxCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        "TerminateInstances" => u32::try_from(query.texts("InstanceId").len()).unwrap_or(u32::MAX),
        _ => 0,
    };
    Call { action: action.name, narrowed, instances }
}

impl Operation {
    /// Carries it out.
    ///
    /// # Errors
    /// What the cloud refuses; nothing has changed then.
    pub(crate) fn run(self, cloud: &mut Cloud, now: Timestamp) -> Result<Body, ApiError> {
        (self.0)(cloud, now)
    }
}

impl Body {
    /// Appends the elements after the request id.
    pub(crate) fn write(self, xml: &mut Xml) {
        (self.0)(xml);
    }
}

type Run<Request, Answer> = fn(&mut Cloud, &Request, Timestamp) -> Result<Answer, ApiError>;
type Show<Request, Item> = fn(&Cloud, &Request) -> Result<Page<Item>, ApiError>;

/// An action that changes something; `write` appends its answer.
fn change<Request, Answer>(request: Request, run: Run<Request, Answer>, write: fn(&Answer, &mut Xml)) -> Operation
where
    Request: Send + 'static,
    Answer: Send + 'static,
{
    Operation(Box::new(move |cloud, now| {
        let answer = run(cloud, &request, now)?;
        Ok(Body(Box::new(move |xml| write(&answer, xml))))
    }))
}

/// An action that changes something and answers only that it did.
fn confirm<Request, Answer>(request: Request, run: Run<Request, Answer>) -> Operation
where
    Request: Send + 'static,
    Answer: Send + 'static,
{
    change(request, run, |_, xml| xml.done())
}

/// An action that lists resources under the element `list`.
fn show<Request, Item>(request: Request, show: Show<Request, Item>, list: &'static str) -> Operation
where
    Request: Send + 'static,
    Item: Encode + Send + 'static,
{
    Operation(Box::new(move |cloud, _| {
        let page = show(cloud, &request)?;
        Ok(Body(Box::new(move |xml| encode::page(xml, list, &page))))
    }))
}

/// The part that every Describe action has: ids under `ids`, filters, paging.
fn describe<Id>(query: &Query, ids: &str, id: impl for<'t> Fn(&'t str) -> Id) -> Result<Describe<Id>, ApiError> {
    Ok(Describe { ids: query.texts(ids).into_iter().map(id).collect(), ..describe_all(query)? })
}

/// A Describe action that takes no ids.
fn describe_all<Id>(query: &Query) -> Result<Describe<Id>, ApiError> {
    let filter = |member: Member<'_>| Ok(Filter::new(member.required("Name")?, member.texts("Value")));
    Ok(Describe {
        ids: Vec::new(),
        filters: query.members("Filter").into_iter().map(filter).collect::<Result<_, ApiError>>()?,
        max_results: query.count("MaxResults")?,
        next_token: query.text("NextToken").map(str::to_owned),
    })
}

fn tag(member: &Member<'_>) -> Result<Tag, ApiError> {
    Ok(Tag::new(member.required("Key")?, member.text("Value").unwrap_or_default()))
}

fn tag_specifications(query: &Query) -> Result<Vec<TagSpecification>, ApiError> {
    let specification = |member: Member<'_>| {
        let tags = member.members("Tag").iter().map(tag).collect::<Result<_, _>>()?;
        Ok(TagSpecification { resource_type: member.required("ResourceType")?.to_owned(), tags })
    };
    query.members("TagSpecification").into_iter().map(specification).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_action_is_declared_twice() {
        let names: BTreeSet<&str> = Action::all().map(|action| action.name).collect();
        assert_eq!(names.len(), Action::all().count());
    }

    #[test]
    fn a_dry_run_is_refused_only_after_the_request_is_found_good() {
        let prepare = |text: &str| {
            let query = Query::from_forms([text.as_bytes()]);
            Action::of(&query).unwrap().prepare(&query).err().map(|error| error.code)
        };
        assert_eq!(prepare("Action=DeleteSubnet&SubnetId=subnet-1&DryRun=true").as_deref(), Some("DryRunOperation"));
        assert_eq!(prepare("Action=DeleteSubnet&DryRun=true").as_deref(), Some("MissingParameter"));
        assert_eq!(prepare("Action=DeleteSubnet&SubnetId=subnet-1"), None);
        let assign = "Action=AssignPrivateIpAddresses&NetworkInterfaceId=eni-1&SecondaryPrivateIpAddressCount=1";
        assert_eq!(prepare(assign), None);
        assert_eq!(prepare(&format!("{assign}&DryRun=true")).as_deref(), Some("UnknownParameter"));
    }

    #[test]
    fn a_call_is_narrowed_by_any_parameter_and_counts_its_instances() {
        let call = |text: &str| {
            let query = Query::from_forms([text.as_bytes()]);
            let call = call(Action::of(&query).unwrap(), &query);
            (call.narrowed, call.instances)
        };
        assert_eq!(call("Action=DescribeInstances&Version=2016-11-15"), (false, 0));
        assert_eq!(call("Action=DescribeInstances&MaxResults=5"), (true, 0));
        assert_eq!(call("Action=RunInstances&MaxCount=7"), (true, 7));
        assert_eq!(call("Action=TerminateInstances&InstanceId.1=i-1&InstanceId.2=i-2"), (true, 2));
    }
}
