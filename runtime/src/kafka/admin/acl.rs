//! Rights, where the brokers have an authorizer: whether they have one, and giving rights.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::ResourceSpecifier;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as NativeOperation;
use sys::rd_kafka_AclPermissionType_t as NativePermission;
use sys::rd_kafka_ResourcePatternType_t as NativePattern;
use sys::rd_kafka_ResourceType_t as NativeResource;

use super::super::client::KafkaConfig;
use super::super::failure::Failure;
use super::{Admin, AdminError, REQUEST_WAIT, options};

/// What a right is about.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Resource {
    /// The topic of this name.
    Topic(String),
    /// Every topic whose name begins so.
    TopicsFrom(String),
    /// Every group whose name begins so.
    GroupsFrom(String),
}

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Read, which holds describing.
    Read,
    /// Write, which holds describing.
    Write,
}

/// A right: this principal may do this there, from any host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Acl {
    /// `User:` and a name, as the brokers know it.
    pub principal: String,
    /// What it is about.
    pub resource: Resource,
    /// What may be done.
    pub operation: Operation,
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Read => "read",
            Operation::Write => "write",
        };
        write!(f, "{} may {operation} ", self.principal)?;
        match &self.resource {
            Resource::Topic(name) => write!(f, "the topic {name}"),
            Resource::TopicsFrom(start) => write!(f, "every topic that begins with {start}"),
            Resource::GroupsFrom(start) => write!(f, "as every group that begins with {start}"),
        }
    }
}

/// Who decides what a client may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authorization {
    /// Nobody: whoever reaches the brokers may do everything.
    Absent,
    /// An authorizer that may let everybody do what no right is about: it was set whether, and
    /// brokers do not tell how.
    Open,
    /// An authorizer.
    Enforced,
}

/// Who decides what a client of these brokers may do, as their settings say.
///
/// librdkafka drops what brokers answer to a question about rights where there is no authorizer, so
/// that cannot be asked.
///
/// # Errors
/// When the cluster does not answer.
pub async fn authorization(kafka: &KafkaConfig) -> Result<Authorization, AdminError> {
    let admin = Arc::new(Admin::new(kafka)?);
    let asking = Arc::clone(&admin);
    let brokers = tokio::task::spawn_blocking(move || asking.broker_ids()).await;
    let mut found = Authorization::Enforced;
    for id in brokers.expect("asking does not panic")? {
        match admin.authorization_at(id).await? {
            Authorization::Absent => return Ok(Authorization::Absent),
            Authorization::Open => found = Authorization::Open,
            Authorization::Enforced => {}
        }
    }
    Ok(found)
}

impl Admin {
    /// Gives rights; those that are there already are no error. Blocks for at most `wait`.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses one; others may have been given.
    pub fn give(&self, acls: &[Acl], wait: Duration) -> Result<(), AdminError> {
        let act = "give rights";
        let failed = |failure| AdminError::Request { act, failure };
        let mut bindings = Vec::with_capacity(acls.len());
        for acl in acls {
            bindings.push(Binding::of(acl).map_err(failed)?);
        }
        let mut pointers: Vec<_> = bindings.iter().map(|binding| binding.0.as_ptr()).collect();
        let event = self.ask(
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS,
            wait,
            // SAFETY: client, options and queue are alive; librdkafka copies the bindings.
            |client, options, queue| unsafe {
                let count = pointers.len();
                let list = pointers.as_mut_ptr();
                sys::rd_kafka_CreateAcls(client, list, count, options, queue);
            },
        );
        let event = event.map_err(failed)?;
        // SAFETY: the event answers this question; what it lends is read while it is alive.
        unsafe {
            let result = sys::rd_kafka_event_CreateAcls_result(event.0.as_ptr());
            let mut count = 0;
            let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
            for at in 0..count {
                let error = sys::rd_kafka_acl_result_error(*results.add(at));
                if !error.is_null() {
                    let failure = Failure::of(sys::rd_kafka_error_code(error).into());
                    return Err(failed(failure));
                }
            }
        }
        Ok(())
    }

    fn broker_ids(&self) -> Result<Vec<i32>, AdminError> {
        // A topic that cannot exist: the answer names the brokers alone.
        let metadata = self
            .client
            .inner()
            .fetch_metadata(Some("pulse.probe"), REQUEST_WAIT);
        let metadata = metadata.map_err(|error| AdminError::request("list brokers", error))?;
        Ok(metadata
            .brokers()
            .iter()
            .map(|broker| broker.id())
            .collect())
    }

    /// What one broker's settings say.
    async fn authorization_at(&self, id: i32) -> Result<Authorization, AdminError> {
        let act = "describe brokers";
        let asked = [ResourceSpecifier::Broker(id)];
        let described = self.client.describe_configs(&asked, &options()).await;
        let described = described.map_err(|error| AdminError::request(act, error))?;
        let settings = match described.into_iter().next() {
            Some(Ok(settings)) => settings,
            // It takes an authorizer to refuse the question.
            Some(Err(Code::ClusterAuthorizationFailed)) => return Ok(Authorization::Enforced),
            Some(Err(code)) => return Err(AdminError::request(act, Failure::of(code))),
            None => {
                return Err(AdminError::request(
                    act,
                    Failure::of(Code::OperationTimedOut),
                ));
            }
        };
        let value = |name| settings.get(name).and_then(|entry| entry.value.as_deref());
        // A refusal may also come as settings of which none is told.
        const AUTHORIZER: &str = "authorizer.class.name";
        if settings.get(AUTHORIZER).is_none() {
            return Ok(Authorization::Enforced);
        }
        if value(AUTHORIZER).is_none_or(str::is_empty) {
            return Ok(Authorization::Absent);
        }
        // A setting of the authorizer's own: brokers say that it is set, and mostly not to what.
        const OPEN: &str = "allow.everyone.if.no.acl.found";
        Ok(
            match settings.get(OPEN).is_some() && value(OPEN) != Some("false") {
                true => Authorization::Open,
                false => Authorization::Enforced,
            },
        )
    }

    /// Sends a question and waits for its answer.
    fn ask(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        wait: Duration,
        send: impl FnOnce(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Result<Answer, Failure> {
        let client = self.client.inner().native_ptr();
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive; options and queue are made and destroyed here, and a queue
        // that is destroyed drops what comes later.
        let event = unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, null_mut(), 0);
            let queue = sys::rd_kafka_queue_new(client);
            send(client, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, wait_ms);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_queue_destroy(queue);
            event
        };
        let Some(event) = NonNull::new(event) else {
            return Err(Failure::of(Code::OperationTimedOut));
        };
        let answer = Answer(event);
        // SAFETY: the event is valid for as long as the answer.
        let error = unsafe { sys::rd_kafka_event_error(answer.0.as_ptr()) };
        Failure::of_response(error).map_or(Ok(answer), Err)
    }
}

/// An answer of librdkafka's.
struct Answer(NonNull<sys::rd_kafka_event_t>);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// A right in librdkafka's memory.
struct Binding(NonNull<sys::rd_kafka_AclBinding_t>);

impl Binding {
    fn of(acl: &Acl) -> Result<Self, Failure> {
        let (kind, name, pattern) = match &acl.resource {
            Resource::Topic(name) => (
                NativeResource::RD_KAFKA_RESOURCE_TOPIC,
                name,
                NativePattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
            ),
            Resource::TopicsFrom(start) => (
                NativeResource::RD_KAFKA_RESOURCE_TOPIC,
                start,
                NativePattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            ),
            Resource::GroupsFrom(start) => (
                NativeResource::RD_KAFKA_RESOURCE_GROUP,
                start,
                NativePattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            ),
        };
        let operation = match acl.operation {
            Operation::Read => NativeOperation::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => NativeOperation::RD_KAFKA_ACL_OPERATION_WRITE,
        };
        let invalid = |text: String| Failure {
            code: Code::InvalidArgument,
            text,
        };
        let text = |text: &str| {
            CString::new(text).map_err(|_| invalid(format!("{text:?} has a zero byte")))
        };
        let (name, principal, host) = (text(name)?, text(&acl.principal)?, text("*")?);
        let mut complaint = [0; 256];
        // SAFETY: the texts are copied; the complaint has room for as many bytes as are said.
        let binding = unsafe {
            sys::rd_kafka_AclBinding_new(
                kind,
                name.as_ptr(),
                pattern,
                principal.as_ptr(),
                host.as_ptr(),
                operation,
                NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                complaint.as_mut_ptr(),
                complaint.len(),
            )
        };
        let refused = || invalid(format!("librdkafka takes no such right: {acl}"));
        NonNull::new(binding).map(Self).ok_or_else(refused)
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: the binding is ours.
        unsafe { sys::rd_kafka_AclBinding_destroy(self.0.as_ptr()) };
    }
}
