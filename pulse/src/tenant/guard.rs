//! Producers of a tenant's own must not be let in where nobody guards the brokers: there, whoever
//! reaches them may write every tenant's topics, and ours.

use std::fmt;

use runtime::control::{Control, ControlConfig, ControlWriter, WriteError};
use runtime::kafka::KafkaConfig;
use runtime::kafka::admin::{AdminError, Authorization, authorization};
use schemas::ids::TenantId;

/// Why it is not known who may write.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The control topic cannot be read.
    #[error(transparent)]
    Control(#[from] WriteError),
    /// The brokers do not say who may do what.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Tenants whose producers write straight to Kafka, and who guards it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guarded {
    /// The tenants.
    pub tenants: Vec<TenantId>,
    /// Who guards the brokers; not asked where there is no such tenant.
    pub by: Authorization,
}

/// What mends brokers without a guard.
pub const MEND: &str = "give the brokers an authorizer \
    (authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer, with our own \
    user among super.users, and without allow.everyone.if.no.acl.found, which is false), or switch it off: \
    pulse tenant direct TENANT off";

impl Guarded {
    /// Asks the brokers, where it matters.
    ///
    /// # Errors
    /// When they do not answer.
    pub async fn look(kafka: &KafkaConfig, control: &ControlConfig) -> Result<Self, GuardError> {
        let held = ControlWriter::new(kafka, control)?.read().await?;
        let tenants = direct_tenants(&held);
        let by = match tenants.is_empty() {
            true => Authorization::Enforced,
            false => authorization(kafka).await?,
        };
        Ok(Self { tenants, by })
    }

    /// True when nobody gets in who should not.
    pub fn is_sound(&self) -> bool {
        self.tenants.is_empty() || self.by == Authorization::Enforced
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tenants.is_empty() {
            return f.write_str("no tenant has producers that write straight to Kafka");
        }
        let tenants: Vec<&str> = self.tenants.iter().map(TenantId::as_str).collect();
        write!(
            f,
            "producers of {} write straight to Kafka",
            tenants.join(", ")
        )?;
        f.write_str(match self.by {
            Authorization::Enforced => ", which has an authorizer",
            Authorization::Open => {
                ", whose authorizer may let everybody do what no right is about: \
                 allow.everyone.if.no.acl.found is set, and brokers do not show to what"
            }
            Authorization::Absent => {
                ", which has no authorizer: whoever reaches it may write every tenant's topics"
            }
        })
    }
}

fn direct_tenants(held: &Control) -> Vec<TenantId> {
    let is_direct = |control: &runtime::control::TenantControl| {
        let tenant = control.tenant.as_ref();
        tenant.is_some_and(|tenant| tenant.value.direct_producers)
    };
    let tenants = held.tenants().filter(|(_, control)| is_direct(control));
    tenants.map(|(tenant, _)| tenant.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_authorizer_that_says_no_guards() {
        let guarded = |tenants: &[&str], by| Guarded {
            tenants: tenants.iter().map(|id| id.parse().unwrap()).collect(),
            by,
        };
        assert!(guarded(&[], Authorization::Absent).is_sound());
        assert!(guarded(&["acme"], Authorization::Enforced).is_sound());
        assert!(!guarded(&["acme"], Authorization::Open).is_sound());
        let open = guarded(&["acme", "beta"], Authorization::Absent);
        assert!(!open.is_sound());
        insta::assert_snapshot!(open, @"producers of acme, beta write straight to Kafka, which has no authorizer: whoever reaches it may write every tenant's topics");
    }
}
