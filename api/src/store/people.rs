//! What of a tenant is never on the topic: its people, a registration that is under way, and the
//! last letters of its keys.

use rusqlite::{OptionalExtension, params};
use schemas::ids::TenantId;

use super::{Change, StoreError};

/// Somebody who may sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Made with the user, and never changed.
    pub id: String,
    /// Where they are reached, in the letters that they gave; one user of a tenant has it.
    pub email: String,
    /// A PHC string.
    pub password_hash: String,
}

/// The only role until people sign in.
const OWNER: &str = "owner";

impl Change<'_> {
    /// Adds a tenant's owner.
    ///
    /// # Errors
    /// When the store cannot be written, or the tenant has a user of that email.
    pub fn add_owner(&mut self, tenant: &TenantId, owner: &User) -> Result<(), StoreError> {
        let insert = "INSERT INTO users (id, tenant, email, password_hash, role, created_at_us) \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        self.sql().execute(
            insert,
            params![
                owner.id,
                tenant.as_str(),
                owner.email,
                owner.password_hash,
                OWNER,
                self.now_us(),
            ],
        )?;
        Ok(())
    }

    /// Notes that a registration was begun, so that its owner may go on with it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin_registration(
        &mut self,
        tenant: &TenantId,
        owner_id: &str,
    ) -> Result<(), StoreError> {
        let insert =
            "INSERT INTO registrations (tenant, owner_id, begun_at_us) VALUES ($1, $2, $3)";
        let row = params![tenant.as_str(), owner_id, self.now_us()];
        self.sql().execute(insert, row)?;
        Ok(())
    }

    /// Who has begun a registration that was not answered yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn registration(&self, tenant: &TenantId) -> Result<Option<User>, StoreError> {
        let select = "SELECT users.id, users.email, users.password_hash FROM registrations \
                      JOIN users ON users.id = registrations.owner_id \
                      WHERE registrations.tenant = $1";
        let user = |row: &rusqlite::Row<'_>| {
            Ok(User {
                id: row.get(0)?,
                email: row.get(1)?,
                password_hash: row.get(2)?,
            })
        };
        let found = self.sql().query_row(select, [tenant.as_str()], user);
        Ok(found.optional()?)
    }

    /// Ends a registration: nobody goes on with it any more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn end_registration(&mut self, tenant: &TenantId) -> Result<(), StoreError> {
        let delete = "DELETE FROM registrations WHERE tenant = $1";
        self.sql().execute(delete, [tenant.as_str()])?;
        Ok(())
    }

    /// Drops a registration that was not answered, with its owner.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn drop_registration(&mut self, tenant: &TenantId) -> Result<(), StoreError> {
        let delete = "DELETE FROM users WHERE id IN \
                      (SELECT owner_id FROM registrations WHERE tenant = $1)";
        self.sql().execute(delete, [tenant.as_str()])?;
        self.end_registration(tenant)
    }

    /// Keeps the last letters of a key, by which people tell theirs apart.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_hint(
        &mut self,
        tenant: &TenantId,
        id: &str,
        last_four: &str,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO key_hints (tenant, id, last_four) VALUES ($1, $2, $3) \
                      ON CONFLICT (tenant, id) DO UPDATE SET last_four = excluded.last_four";
        let row = params![tenant.as_str(), id, last_four];
        self.sql().execute(insert, row)?;
        Ok(())
    }

    /// The last letters of a key; unknown for one that was taken over from the topic.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn hint(&self, tenant: &TenantId, id: &str) -> Result<Option<String>, StoreError> {
        let select = "SELECT last_four FROM key_hints WHERE tenant = $1 AND id = $2";
        let names = params![tenant.as_str(), id];
        let found = self.sql().query_row(select, names, |row| row.get(0));
        Ok(found.optional()?)
    }
}
