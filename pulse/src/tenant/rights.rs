//! What a principal of a tenant gets: as little as it needs, and nothing by a name that somebody
//! else's begins with. Pure.

use runtime::kafka::admin::{Acl, Operation, Resource};
use schemas::ids::{Stream, TenantId};

/// What a principal is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Write events.
    Write,
    /// Write events, and read all of the tenant's topics.
    WriteAndRead,
}

/// The rights of a tenant's principal.
///
/// Writing is about one topic by its whole name. Reading is about a beginning that ends in a dot,
/// which no tenant's id can hold: so `acme` gets nothing of `acme-2`.
pub fn acls(tenant: &TenantId, principal: &str, purpose: Purpose) -> Vec<Acl> {
    let acl = |resource, operation| Acl {
        principal: principal.to_owned(),
        resource,
        operation,
    };
    let events = tenant.topic(Stream::Events).to_string();
    let mut acls = vec![acl(Resource::Topic(events), Operation::Write)];
    if purpose == Purpose::WriteAndRead {
        let topics = Resource::TopicsFrom(format!("pulse.{tenant}."));
        let groups = Resource::GroupsFrom(format!("{tenant}."));
        acls.push(acl(topics, Operation::Read));
        acls.push(acl(groups, Operation::Read));
    }
    acls
}

/// The same as arguments of `kafka-acls.sh --add`.
pub fn acl_arguments(acl: &Acl) -> Vec<String> {
    let (option, name, pattern) = match &acl.resource {
        Resource::Topic(name) => ("--topic", name, "literal"),
        Resource::TopicsFrom(start) => ("--topic", start, "prefixed"),
        Resource::GroupsFrom(start) => ("--group", start, "prefixed"),
    };
    let operation = match acl.operation {
        Operation::Read => "Read",
        Operation::Write => "Write",
    };
    let words = [
        "--add",
        "--allow-principal",
        &acl.principal,
        "--operation",
        operation,
        option,
        name,
        "--resource-pattern-type",
        pattern,
    ];
    words.map(str::to_owned).to_vec()
}

/// Arguments of `kafka-configs.sh` that bound how much a principal may write and read a second.
pub fn quota_arguments(user: &str, bytes_per_second: u32, purpose: Purpose) -> Vec<String> {
    let mut quotas = format!("producer_byte_rate={bytes_per_second}");
    if purpose == Purpose::WriteAndRead {
        quotas.push_str(&format!(",consumer_byte_rate={bytes_per_second}"));
    }
    let words = [
        "--alter",
        "--entity-type",
        "users",
        "--entity-name",
        user,
        "--add-config",
        &quotas,
    ];
    words.map(str::to_owned).to_vec()
}

/// A principal that names a user of the brokers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal(String);

/// What is no principal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a principal is User: and the name of one user, for instance User:acme; not User:* and no \
         spaces at its ends"
)]
pub struct PrincipalError;

impl Principal {
    /// With its `User:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user's name alone.
    pub fn user(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, user)| user)
    }
}

impl std::str::FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let user = text.strip_prefix("User:").ok_or(PrincipalError)?;
        let is_name = !user.is_empty()
            && user != "*"
            && user.trim() == user
            && !user.chars().any(char::is_control);
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => Err(PrincipalError),
        }
    }
}

/// Arguments as a shell wants them.
pub fn shell(program: &str, arguments: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    let word = |word: &String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let words = arguments.iter().map(word);
    let words: Vec<String> = std::iter::once(program.to_owned()).chain(words).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(purpose: Purpose) -> String {
        let acls = acls(&"acme".parse().unwrap(), "User:acme", purpose);
        let lines = acls
            .iter()
            .map(|acl| shell("kafka-acls.sh", &acl_arguments(acl)) + "\n");
        lines.collect()
    }

    #[test]
    fn a_producer_may_write_one_topic_and_nothing_else() {
        insta::assert_snapshot!(told(Purpose::Write), @"kafka-acls.sh --add --allow-principal User:acme --operation Write --topic pulse.acme.events --resource-pattern-type literal");
    }

    #[test]
    fn a_reader_gets_what_begins_with_its_tenants_name_and_a_dot() {
        insta::assert_snapshot!(told(Purpose::WriteAndRead), @"
        kafka-acls.sh --add --allow-principal User:acme --operation Write --topic pulse.acme.events --resource-pattern-type literal
        kafka-acls.sh --add --allow-principal User:acme --operation Read --topic pulse.acme. --resource-pattern-type prefixed
        kafka-acls.sh --add --allow-principal User:acme --operation Read --group acme. --resource-pattern-type prefixed
        ");
    }

    #[test]
    fn quotas_are_of_the_user() {
        let told = |purpose| shell("kafka-configs.sh", &quota_arguments("acme", 7, purpose));
        insta::assert_snapshot!(told(Purpose::Write), @"kafka-configs.sh --alter --entity-type users --entity-name acme --add-config producer_byte_rate=7");
        insta::assert_snapshot!(told(Purpose::WriteAndRead), @"kafka-configs.sh --alter --entity-type users --entity-name acme --add-config producer_byte_rate=7,consumer_byte_rate=7");
    }

    #[test]
    fn a_principal_is_one_user() {
        for good in ["User:acme", "User:CN=acme,O=Acme Inc", "User:ANONYMOUS"] {
            assert_eq!(good.parse::<Principal>().unwrap().as_str(), good);
        }
        let bad = [
            "acme",
            "User:",
            "User:*",
            "user:acme",
            "Group:a",
            "User: a",
            "User:a\n",
            "",
        ];
        for bad in bad {
            assert_eq!(bad.parse::<Principal>(), Err(PrincipalError), "{bad:?}");
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let words = ["User:CN=a b", "it's", "", "$(reboot)"].map(str::to_owned);
        insta::assert_snapshot!(shell("x", &words), @r"x 'User:CN=a b' 'it'\''s' '' '$(reboot)'");
    }
}
