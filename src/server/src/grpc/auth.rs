//! The Auth service of a server without users: it says that authentication is off, and refuses to change that.

use std::sync::Arc;

use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::core::{Core, unsupported};

/// The service.
#[derive(Clone)]
pub(crate) struct AuthService(pub(crate) Arc<Core>);

/// Methods that would change users, roles or the switch.
macro_rules! refuse {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(unsupported("authentication"))
            })*

            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = self.0.header();
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            async fn authenticate(
                &self,
                _: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                Err(ApiError::AuthNotEnabled.into())
            }

            async fn user_get(
                &self,
                _: Request<pb::AuthUserGetRequest>,
            ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
                Err(ApiError::UserNameNotFound.into())
            }

            async fn user_list(
                &self,
                _: Request<pb::AuthUserListRequest>,
            ) -> Result<Response<pb::AuthUserListResponse>, Status> {
                Ok(Response::new(pb::AuthUserListResponse { header: self.0.header(), users: Vec::new() }))
            }

            async fn role_get(
                &self,
                _: Request<pb::AuthRoleGetRequest>,
            ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
                Err(ApiError::RoleNameNotFound.into())
            }

            async fn role_list(
                &self,
                _: Request<pb::AuthRoleListRequest>,
            ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
                Ok(Response::new(pb::AuthRoleListResponse { header: self.0.header(), roles: Vec::new() }))
            }
        }
    };
}

refuse! {
    auth_enable: AuthEnableRequest -> AuthEnableResponse;
    auth_disable: AuthDisableRequest -> AuthDisableResponse;
    user_add: AuthUserAddRequest -> AuthUserAddResponse;
    user_delete: AuthUserDeleteRequest -> AuthUserDeleteResponse;
    user_change_password: AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse;
    user_grant_role: AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse;
    user_revoke_role: AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse;
    role_add: AuthRoleAddRequest -> AuthRoleAddResponse;
    role_delete: AuthRoleDeleteRequest -> AuthRoleDeleteResponse;
    role_grant_permission: AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse;
    role_revoke_permission: AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse;
}
