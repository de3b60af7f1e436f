from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BuildConfig(_message.Message):
    __slots__ = ("build_file", "timeout_mins", "gfile_resources", "env_vars", "before_action", "action", "bazel_setting", "container_properties", "xunit_test_results")
    BUILD_FILE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MINS_FIELD_NUMBER: _ClassVar[int]
    GFILE_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BAZEL_SETTING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    XUNIT_TEST_RESULTS_FIELD_NUMBER: _ClassVar[int]
    build_file: str
    timeout_mins: int
    gfile_resources: _containers.RepeatedScalarFieldContainer[str]
    env_vars: _containers.RepeatedCompositeFieldContainer[EnvVar]
    before_action: _containers.RepeatedCompositeFieldContainer[BeforeAction]
    action: _containers.RepeatedCompositeFieldContainer[Action]
    bazel_setting: BazelSetting
    container_properties: ContainerProperties
    xunit_test_results: _containers.RepeatedCompositeFieldContainer[XunitTestResults]
    def __init__(self, build_file: _Optional[str] = ..., timeout_mins: _Optional[int] = ..., gfile_resources: _Optional[_Iterable[str]] = ..., env_vars: _Optional[_Iterable[_Union[EnvVar, _Mapping]]] = ..., before_action: _Optional[_Iterable[_Union[BeforeAction, _Mapping]]] = ..., action: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., bazel_setting: _Optional[_Union[BazelSetting, _Mapping]] = ..., container_properties: _Optional[_Union[ContainerProperties, _Mapping]] = ..., xunit_test_results: _Optional[_Iterable[_Union[XunitTestResults, _Mapping]]] = ...) -> None: ...

class EnvVar(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class BeforeAction(_message.Message):
    __slots__ = ("fetch_keystore",)
    FETCH_KEYSTORE_FIELD_NUMBER: _ClassVar[int]
    fetch_keystore: FetchKeystore
    def __init__(self, fetch_keystore: _Optional[_Union[FetchKeystore, _Mapping]] = ...) -> None: ...

class FetchKeystore(_message.Message):
    __slots__ = ("keystore_resource",)
    KEYSTORE_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    keystore_resource: _containers.RepeatedCompositeFieldContainer[KeystoreResource]
    def __init__(self, keystore_resource: _Optional[_Iterable[_Union[KeystoreResource, _Mapping]]] = ...) -> None: ...

class KeystoreResource(_message.Message):
    __slots__ = ("keystore_config_id", "keyname", "backend", "backend_type")
    class BackendType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[KeystoreResource.BackendType]
        FASTCONFIGPUSH: _ClassVar[KeystoreResource.BackendType]
    UNKNOWN: KeystoreResource.BackendType
    FASTCONFIGPUSH: KeystoreResource.BackendType
    KEYSTORE_CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    KEYNAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_TYPE_FIELD_NUMBER: _ClassVar[int]
    keystore_config_id: int
    keyname: str
    backend: str
    backend_type: KeystoreResource.BackendType
    def __init__(self, keystore_config_id: _Optional[int] = ..., keyname: _Optional[str] = ..., backend: _Optional[str] = ..., backend_type: _Optional[_Union[KeystoreResource.BackendType, str]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("define_artifacts",)
    DEFINE_ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    define_artifacts: DefineArtifacts
    def __init__(self, define_artifacts: _Optional[_Union[DefineArtifacts, _Mapping]] = ...) -> None: ...

class DefineArtifacts(_message.Message):
    __slots__ = ("regex", "strip_prefix", "fail_if_no_artifacts")
    REGEX_FIELD_NUMBER: _ClassVar[int]
    STRIP_PREFIX_FIELD_NUMBER: _ClassVar[int]
    FAIL_IF_NO_ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    regex: _containers.RepeatedScalarFieldContainer[str]
    strip_prefix: str
    fail_if_no_artifacts: bool
    def __init__(self, regex: _Optional[_Iterable[str]] = ..., strip_prefix: _Optional[str] = ..., fail_if_no_artifacts: _Optional[bool] = ...) -> None: ...

class BazelSetting(_message.Message):
    __slots__ = ("project_id", "local_execution", "auth_credential", "bes_backend_address", "foundry_backend_address", "upsalite_frontend_address")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    LOCAL_EXECUTION_FIELD_NUMBER: _ClassVar[int]
    AUTH_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    BES_BACKEND_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FOUNDRY_BACKEND_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    UPSALITE_FRONTEND_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    local_execution: bool
    auth_credential: KeystoreResource
    bes_backend_address: str
    foundry_backend_address: str
    upsalite_frontend_address: str
    def __init__(self, project_id: _Optional[str] = ..., local_execution: _Optional[bool] = ..., auth_credential: _Optional[_Union[KeystoreResource, _Mapping]] = ..., bes_backend_address: _Optional[str] = ..., foundry_backend_address: _Optional[str] = ..., upsalite_frontend_address: _Optional[str] = ...) -> None: ...

class ContainerProperties(_message.Message):
    __slots__ = ("docker_image",)
    DOCKER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    docker_image: str
    def __init__(self, docker_image: _Optional[str] = ...) -> None: ...

class XunitTestResults(_message.Message):
    __slots__ = ("target_name", "result_xml_path")
    TARGET_NAME_FIELD_NUMBER: _ClassVar[int]
    RESULT_XML_PATH_FIELD_NUMBER: _ClassVar[int]
    target_name: str
    result_xml_path: str
    def __init__(self, target_name: _Optional[str] = ..., result_xml_path: _Optional[str] = ...) -> None: ...
