//! People: added, changed, removed.

use super::{Auth, AuthError, Role, hash, own_name};
use crate::inventory::{StoreError, Tx, User};
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};

impl Auth {
    /// Adds a person; the one-time code is over then, as there is somebody.
    ///
    /// # Errors
    /// [`AuthError`] for a bad or taken name, or a bad password.
    pub async fn add_person(&self, name: &str, password: &str, role: Role, actor: Actor) -> Result<User, AuthError> {
        let name = own_name("name", name)?;
        let user = User { name, password: hash(password).await?, role: role.as_str().to_owned() };
        let added = user.clone();
        self.inventory
            .transact(move |tx| {
                if tx.user(user.name.as_str())?.is_some() {
                    return Err(StoreError::UserTaken { name: user.name });
                }
                tx.put_user(&user)?;
                tx.record(None, None, actor, EventKind::UserAdded { name: user.name }).map(drop)
            })
            .await?;
        self.used_up.send_replace(None);
        Ok(added)
    }

    /// Gives a person a new password or role; whoever knew the old password is out.
    ///
    /// # Errors
    /// [`AuthError`] for an unknown name or a bad password, or if nobody were left who may change things.
    pub async fn change_person(
        &self,
        name: &str,
        password: Option<&str>,
        role: Option<Role>,
        actor: Actor,
    ) -> Result<User, AuthError> {
        let hashed = match password {
            Some(password) => Some(hash(password).await?),
            None => None,
        };
        let name = CleanText::new(name);
        let changed = self
            .inventory
            .transact(move |tx| {
                let mut user = known(tx, &name)?;
                let mut what = Vec::new();
                if let Some(role) = role {
                    if role != Role::Admin {
                        another_admin(tx, &user)?;
                    }
                    user.role = role.as_str().to_owned();
                    what.push(format!("role {}", user.role));
                }
                if let Some(hashed) = hashed {
                    user.password = hashed;
                    what.push("password".to_owned());
                    tx.remove_sessions(&user.name)?;
                }
                tx.put_user(&user)?;
                let what = CleanText::new(&what.join(", "));
                let kind = EventKind::UserChanged { name: user.name.clone(), what };
                tx.record(None, None, actor, kind)?;
                Ok(user)
            })
            .await?;
        Ok(changed)
    }

    /// Removes a person, whose sessions and tokens go too.
    ///
    /// # Errors
    /// [`AuthError`] for an unknown name, or if nobody were left who may change things.
    pub async fn remove_person(&self, name: &str, actor: Actor) -> Result<(), AuthError> {
        let name = CleanText::new(name);
        self.inventory
            .transact(move |tx| {
                let user = known(tx, &name)?;
                another_admin(tx, &user)?;
                tx.remove_user(&user.name)?;
                tx.remove_api_tokens_of(&user.name, &actor)?;
                tx.record(None, None, actor, EventKind::UserRemoved { name: user.name }).map(drop)
            })
            .await?;
        Ok(())
    }
}

fn known(tx: &Tx<'_>, name: &CleanText) -> Result<User, StoreError> {
    tx.user(name.as_str())?.ok_or_else(|| StoreError::NotFound { what: "user", id: name.to_string() })
}

/// Refuses to lose the last person who may change things.
fn another_admin(tx: &Tx<'_>, user: &User) -> Result<(), StoreError> {
    let admin = |user: &User| Role::of(&user.role) == Role::Admin;
    if admin(user) && !tx.users()?.iter().any(|other| other.name != user.name && admin(other)) {
        return Err(StoreError::LastAdmin { name: user.name.clone() });
    }
    Ok(())
}
