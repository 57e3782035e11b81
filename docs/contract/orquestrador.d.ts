// The frames of the WebSocket protocol, version 1. Made by scripts/contract from libs/contract; do not edit.

export type ProtocolVersion = 1;

/** What clients send. */
export type ClientFrame =
  | PingRequest
  | ChatSendRequest
  | ChatHistoryRequest
  | ChatCancelRequest
  | ChatResumeRequest
  | ConversationListRequest
  | ConversationCreateRequest
  | ConversationRenameRequest
  | ConversationDeleteRequest
  | ModelListRequest
  | MonitoringSubscribeRequest
  | MonitoringUnsubscribeRequest
  | MonitoringHostsRequest
  | MonitoringHistoryRequest
  | TaskSubscribeRequest
  | TaskUnsubscribeRequest
  | TaskCreateRequest
  | TaskGetRequest
  | TaskListRequest
  | TaskUpdateRequest
  | TaskCancelRequest;

/** What clients are told. Ignore a `type` that you do not know. */
export type ServerFrame =
  | PongFrame
  | SessionReadyFrame
  | SessionDrainingFrame
  | ErrorFrame
  | ChatMessageFrame
  | ChatStatusFrame
  | ChatStreamingFrame
  | ChatHistoryFrame
  | ChatCancelledFrame
  | ChatResumedFrame
  | ConversationListFrame
  | ConversationCreatedFrame
  | ConversationRenamedFrame
  | ConversationDeletedFrame
  | ModelListFrame
  | MonitoringSubscribedFrame
  | MonitoringUnsubscribedFrame
  | MetricsFrame
  | MonitoringHostFrame
  | MonitoringHostsFrame
  | MonitoringHistoryFrame
  | TaskSubscribedFrame
  | TaskUnsubscribedFrame
  | TaskUpdateFrame
  | TaskCreatedFrame
  | TaskUpdatedFrame
  | TaskCancelledFrame
  | TaskListFrame;

/** Asks for a sign of life. */
export interface PingRequest {
  type: "ping";
  id?: FrameId | null;
}

/** Says something to the model; the answer comes in pieces, and then whole as it was stored. */
export interface ChatSendRequest {
  type: "chat:send";
  id?: FrameId | null;
  data: ChatSend;
}

/** Asks for the messages of a conversation. */
export interface ChatHistoryRequest {
  type: "chat:history";
  id?: FrameId | null;
  data?: ChatHistory | null;
}

/** Stops an answer; what text it has is kept. */
export interface ChatCancelRequest {
  type: "chat:cancel";
  id?: FrameId | null;
  data?: ChatCancel | null;
}

/** Goes on with an answer where this client, or another, has left it; also with one that has ended. */
export interface ChatResumeRequest {
  type: "chat:resume";
  id?: FrameId | null;
  data?: ChatResume | null;
}

/** Asks for a page of conversations. */
export interface ConversationListRequest {
  type: "conversation:list";
  id?: FrameId | null;
  data?: ConversationList | null;
}

/** Opens a conversation. */
export interface ConversationCreateRequest {
  type: "conversation:create";
  id?: FrameId | null;
  data?: ConversationCreate | null;
}

/** Gives a conversation another title. */
export interface ConversationRenameRequest {
  type: "conversation:rename";
  id?: FrameId | null;
  data: ConversationRename;
}

/** Deletes a conversation with its messages, and stops what runs in it. */
export interface ConversationDeleteRequest {
  type: "conversation:delete";
  id?: FrameId | null;
  data: ConversationDelete;
}

/** Asks which models there are. */
export interface ModelListRequest {
  type: "model:list";
  id?: FrameId | null;
  data?: Nothing | null;
}

/** Watches hosts from now on; a second one takes the place of the first. */
export interface MonitoringSubscribeRequest {
  type: "monitoring:subscribe";
  id?: FrameId | null;
  data?: MonitoringSubscribe | null;
}

/** Watches no host any more. */
export interface MonitoringUnsubscribeRequest {
  type: "monitoring:unsubscribe";
  id?: FrameId | null;
  data?: MonitoringUnsubscribe | null;
}

/** Asks which hosts there are. */
export interface MonitoringHostsRequest {
  type: "monitoring:hosts";
  id?: FrameId | null;
  data?: Nothing | null;
}

/** Asks how a host was over the last minutes. */
export interface MonitoringHistoryRequest {
  type: "monitoring:history";
  id?: FrameId | null;
  data?: MonitoringHistory | null;
}

/** Follows a task from now on. */
export interface TaskSubscribeRequest {
  type: "task:subscribe";
  id?: FrameId | null;
  data: TaskSubscribe;
}

/** Follows a task no more. */
export interface TaskUnsubscribeRequest {
  type: "task:unsubscribe";
  id?: FrameId | null;
  data: TaskUnsubscribe;
}

/** Makes a task. */
export interface TaskCreateRequest {
  type: "task:create";
  id?: FrameId | null;
  data: TaskCreate;
}

/** Asks for a task as it stands. */
export interface TaskGetRequest {
  type: "task:get";
  id?: FrameId | null;
  data: TaskGet;
}

/** Asks for a page of tasks. */
export interface TaskListRequest {
  type: "task:list";
  id?: FrameId | null;
  data?: TaskList | null;
}

/** Changes a task, its subtasks, or both at once. */
export interface TaskUpdateRequest {
  type: "task:update";
  id?: FrameId | null;
  data: TaskUpdate;
}

/** Cancels a task. */
export interface TaskCancelRequest {
  type: "task:cancel";
  id?: FrameId | null;
  data: TaskCancel;
}

/** The sign of life. */
export interface PongFrame {
  type: "pong";
  id?: FrameId;
}

/** The first frame on every connection. */
export interface SessionReadyFrame {
  type: "session:ready";
  data: SessionReady;
}

/** This gateway goes away and will close the connection. */
export interface SessionDrainingFrame {
  type: "session:draining";
  data: SessionDraining;
}

/** A request failed; the connection stays open. */
export interface ErrorFrame {
  type: "error";
  id?: FrameId;
  data: ErrorData;
}

/** A message as it was stored: the client's own, or the whole answer. */
export interface ChatMessageFrame {
  type: "chat:message";
  id?: FrameId;
  data: ChatMessage;
}

/** The request is accepted, and why there is no text yet. */
export interface ChatStatusFrame {
  type: "chat:status";
  id?: FrameId;
  data: ChatStatus;
}

/** The next piece of an answer, or its end. */
export interface ChatStreamingFrame {
  type: "chat:streaming";
  id?: FrameId;
  data: ChatStreaming;
}

/**
 * Messages of a conversation, oldest first. The whole `chat:history` frame, not its data: old clients need `data` to be the bare list, oldest first.
 *
 * `hasMore`: older messages exist; ask again with `before` set to the first id of this page.
 */
export interface ChatHistoryFrame {
  type: "chat:history";
  id?: FrameId;
  data: Array<ChatMessage>;
  conversationId: number | null;
  hasMore: boolean;
  answering: Answering | null;
}

/** How the answer stands after the cancel. */
export interface ChatCancelledFrame {
  type: "chat:cancelled";
  id?: FrameId;
  data: ChatCancelled;
}

/** How the answer stands; what was missed follows. */
export interface ChatResumedFrame {
  type: "chat:resumed";
  id?: FrameId;
  data: ChatResumed;
}

/** A page of conversations, most recently used first. */
export interface ConversationListFrame {
  type: "conversation:list";
  id?: FrameId;
  data: Conversations;
}

/** The new conversation. */
export interface ConversationCreatedFrame {
  type: "conversation:created";
  id?: FrameId;
  data: Conversation;
}

/** The conversation with its new title. */
export interface ConversationRenamedFrame {
  type: "conversation:renamed";
  id?: FrameId;
  data: Conversation;
}

/** The conversation is gone. */
export interface ConversationDeletedFrame {
  type: "conversation:deleted";
  id?: FrameId;
  data: ConversationDeleted;
}

/** The models of the model server. */
export interface ModelListFrame {
  type: "model:list";
  id?: FrameId;
  data: Models;
}

/** The hosts are watched. */
export interface MonitoringSubscribedFrame {
  type: "monitoring:subscribed";
  id?: FrameId;
  data: MonitoringSubscribed;
}

/** No host is watched any more. */
export interface MonitoringUnsubscribedFrame {
  type: "monitoring:unsubscribed";
  id?: FrameId;
}

/** One sample of a host that is watched. */
export interface MetricsFrame {
  type: "metrics";
  data: Metrics;
}

/** The status of a host that is watched has changed. */
export interface MonitoringHostFrame {
  type: "monitoring:host";
  data: HostState;
}

/** The hosts heard of in the last day, by name. */
export interface MonitoringHostsFrame {
  type: "monitoring:hosts";
  id?: FrameId;
  data: Hosts;
}

/** How a host was, oldest first. */
export interface MonitoringHistoryFrame {
  type: "monitoring:history";
  id?: FrameId;
  data: MonitoringHistoryData;
}

/** The task is followed; its present state comes next. */
export interface TaskSubscribedFrame {
  type: "task:subscribed";
  id?: FrameId;
  data: TaskSubscribed;
}

/** The task is followed no more. */
export interface TaskUnsubscribedFrame {
  type: "task:unsubscribed";
  id?: FrameId;
  data: TaskSubscribed;
}

/** A task as it stands: asked for, just followed, or changed. */
export interface TaskUpdateFrame {
  type: "task:update";
  id?: FrameId;
  data: TaskState;
}

/** The new task. */
export interface TaskCreatedFrame {
  type: "task:created";
  id?: FrameId;
  data: TaskState;
}

/** The task after this client's change. */
export interface TaskUpdatedFrame {
  type: "task:updated";
  id?: FrameId;
  data: TaskState;
}

/** The task after this client's cancel. */
export interface TaskCancelledFrame {
  type: "task:cancelled";
  id?: FrameId;
  data: TaskState;
}

/** A page of tasks, newest first. */
export interface TaskListFrame {
  type: "task:list";
  id?: FrameId;
  data: Tasks;
}

/** A client's own word for a request; the answers carry it. */
export type FrameId = string | number;

/**
 * Why the server has closed the connection.
 * - 4102: The client left too much unread. Reconnect with backoff.
 * - 4103: The client has not answered the server's ping. Reconnect with backoff.
 * - 4200: This gateway goes away. Reconnect, anywhere, within the window of `session:draining`.
 */
export type CloseCode = 4102 | 4103 | 4200;

/** Why an answer did not become complete. */
export interface AnswerError {
  code: ErrorCode;
  message: string;
}

/**
 * Why a request failed. The list is closed.
 * - invalid_frame: Not JSON, not an object, or not what this type of frame holds; the message says where.
 * - unknown_type: This server knows no such type of frame.
 * - too_large: The frame, or what it would make, is over the limit that the message names.
 * - unauthenticated: Reserved for accounts.
 * - forbidden: Reserved for accounts.
 * - not_found: There is no such thing, or it is not yours.
 * - conflict: It does not fit what is there now: read it again, then decide.
 * - rate_limited: Too many requests; wait `retryAfterMs`.
 * - busy: As much as is allowed is under way or followed already.
 * - model_not_found: The model server has no such model; the message names some that it has.
 * - model_unavailable: The model server does not answer, has nothing loaded, or went silent.
 * - model_error: The model server refused, or answered nothing.
 * - context_overflow: The message does not fit into the context of the loaded model.
 * - bus_unavailable: The bus is away, or went away before it answered: repeat it with the same `requestId`.
 * - service_unavailable: No service answers, or what it needs is away.
 * - internal: A defect here; the log has it under the `requestId`.
 */
export type ErrorCode = "invalid_frame" | "unknown_type" | "too_large" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "rate_limited" | "busy" | "model_not_found" | "model_unavailable" | "model_error" | "context_overflow" | "bus_unavailable" | "service_unavailable" | "internal";

/** An answer in progress, so that another tab can show that it is coming. */
export interface Answering {
  messageId: number;
  requestId: string;
  epoch: number;
  status: MessageStatus;
}

/** Where a message stands. A user's message is complete from the start; an answer passes through the first two. */
export type MessageStatus = "pending" | "streaming" | "complete" | "cancelled" | "interrupted" | "error";

/** `chat:cancel`: stop one answer, named by its message or by the request that asked for it. */
export interface ChatCancel {
  messageId?: number | null;
  requestId?: string | null;
}

/** `chat:cancelled`, the direct answer to `chat:cancel`: how the answer stands now, with what text it has kept. */
export interface ChatCancelled {
  messageId: number;
  requestId: string;
  status: MessageStatus;
}

/** `chat:history`: the last `limit` messages, or those before `before`; by default of the newest conversation. */
export interface ChatHistory {
  conversationId?: number | null;
  /** @defaultValue `50` */
  limit?: number;
  before?: number | null;
}

/** `chat:message`, and one entry of `chat:history`. The fields after `timestamp` are for clients that know them. */
export interface ChatMessage {
  id: number;
  role: Role;
  content: string;
  /** ISO 8601, in UTC. */
  timestamp: string;
  conversationId: number;
  requestId: string;
  status: MessageStatus;
  reasoning?: string;
  model?: string;
  error?: AnswerError;
}

/** Who says a message. */
export type Role = "user" | "assistant" | "system";

/** How the model should answer; what is left out is the model server's choice. */
export interface ChatOptions {
  temperature?: number | null;
  topP?: number | null;
  maxTokens?: number | null;
  seed?: number | null;
  stop?: Array<string> | null;
}

/**
 * `chat:resume`: go on with an answer behind the last frame seen, `(epoch, seq)`; 0 and 0: none was seen.
 *
 * Who knows only the request that asked for it names that, and gets the answer from its beginning.
 */
export interface ChatResume {
  messageId?: number | null;
  requestId?: string | null;
  /** @defaultValue `0` */
  epoch?: number;
  /** @defaultValue `0` */
  seq?: number;
}

/** `chat:resumed`: how the answer stands; what was missed follows under the same `id`, then the rest, to the end. */
export interface ChatResumed {
  messageId: number;
  requestId: string;
  epoch: number;
  status: MessageStatus;
}

/** `chat:send`. Without `conversationId` it opens a conversation; the answer's frames say its id. */
export interface ChatSend {
  message: string;
  conversationId?: number | null;
  requestId?: string | null;
  model?: string | null;
  options?: ChatOptions | null;
}

/** `chat:status`: accepted, and why there is no text yet. `position` counts the answers before this one. */
export interface ChatStatus {
  requestId: string;
  conversationId: number;
  messageId: number;
  status: "loading_model" | "queued";
  position?: number;
}

/**
 * `chat:streaming`: the next piece of an answer, or (`done`) its end.
 *
 * `seq` counts the frames of one `epoch` from 1; with `fromSeq` the frame stands for several, `fromSeq` to `seq`. `reset`: forget the text of this message shown so far. The fields from `status` on stand in the `done` frame only.
 */
export interface ChatStreaming {
  conversationId: number;
  messageId: number;
  epoch: number;
  seq: number;
  fromSeq?: number;
  chunk: string;
  done: boolean;
  reasoning?: string;
  /** @defaultValue `false` */
  reset?: boolean;
  requestId?: string;
  status?: MessageStatus;
  finishReason?: string;
  usage?: Usage;
  ttftMs?: number;
  tokensPerSecond?: number;
  model?: string;
  error?: AnswerError;
}

/** Tokens as the model server counted them. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

/** One conversation, as `conversation:create` and `:rename` return it and `conversation:list` lists it. */
export interface Conversation {
  id: number;
  title: string;
  /** ISO 8601, in UTC. */
  createdAt: string;
  /** ISO 8601, in UTC. */
  updatedAt: string;
}

/** `conversation:create`; the same `requestId` again gives the same conversation. */
export interface ConversationCreate {
  title?: string | null;
  requestId?: string | null;
}

/** `conversation:delete`: the conversation, its messages, and whatever answer is running in it. */
export interface ConversationDelete {
  conversationId: number;
}

/** `conversation:deleted`, the direct answer to `conversation:delete`. */
export interface ConversationDeleted {
  conversationId: number;
}

/** `conversation:list`: most recently used first; `before` is the `cursor` of the page before. */
export interface ConversationList {
  /** @defaultValue `50` */
  limit?: number;
  before?: string | null;
}

/** `conversation:rename`. */
export interface ConversationRename {
  conversationId: number;
  title: string;
}

/** `conversation:list`. `cursor` asks for the next page; null: this was the last. */
export interface Conversations {
  conversations: Array<Conversation>;
  cursor: string | null;
}

/** `cores` counts logical ones; `temperature` is in °C. */
export interface Cpu {
  usage: number | null;
  cores: number;
  perCore: Array<number | null>;
  frequencyMhz: number | null;
  temperature: number | null;
}

/** The root file system; the rates are those of all physical disks together. */
export interface Disk {
  total: number | null;
  used: number | null;
  free: number | null;
  usedPercent: number | null;
  readRate: number | null;
  writeRate: number | null;
}

/** `error`: what went wrong and what to do. Never a stack trace. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
  retryable: boolean;
  retryAfterMs?: number;
  requestId?: string;
}

/** `temperature` in °C, `power` in watts. All null but the name: it sleeps, and was not woken to be measured. */
export interface Gpu {
  index: number;
  name: string | null;
  usage: number | null;
  memoryTotal: number | null;
  memoryUsed: number | null;
  memoryUsedPercent: number | null;
  temperature: number | null;
  power: number | null;
}

/** What is kept of one sample. The lists have one entry for each GPU. */
export interface HistoryPoint {
  /** ISO 8601, in UTC. */
  timestamp: string;
  cpuUsage: number | null;
  cpuTemperature: number | null;
  memoryUsed: number;
  memoryUsedPercent: number | null;
  swapUsedPercent: number | null;
  diskUsedPercent: number | null;
  diskReadRate: number | null;
  diskWriteRate: number | null;
  networkRx: number | null;
  networkTx: number | null;
  loadAverage: number | null;
  gpuUsage: Array<number | null>;
  gpuMemoryUsedPercent: Array<number | null>;
}

/** `monitoring:host`: sent to who watches a host when its status changes; and one entry of `monitoring:hosts`. */
export interface HostState {
  host: string;
  status: HostStatus;
  /** ISO 8601, in UTC. */
  lastSampleAt: string;
  intervalSeconds: number;
}

/** Live: as promised. Stale: late, so what is shown may be wrong. Gone: machine, agent or network is off. */
export type HostStatus = "live" | "stale" | "gone";

/** `monitoring:hosts`: every host heard of in the last day, by name. */
export interface Hosts {
  hosts: Array<HostState>;
}

/** One network interface; the totals count from the start of the machine. */
export interface Interface {
  name: string;
  rx: number | null;
  tx: number | null;
  rxTotal: number;
  txTotal: number;
}

/** What a client may do; told on connect. */
export interface Limits {
  maxFrameBytes: number;
  requestsPerMinute: number;
  burst: number;
  subscriptions: number;
}

/** `available`: what programs can still have, without swapping; `usedPercent` is what they cannot. */
export interface Memory {
  total: number;
  used: number;
  free: number;
  available: number;
  usedPercent: number | null;
}

/** `metrics`: one sample of one host. It promises the next one within `intervalSeconds`. */
export interface Metrics {
  host: string;
  /** ISO 8601, in UTC. */
  timestamp: string;
  intervalSeconds: number;
  cpu: Cpu;
  memory: Memory;
  swap: Swap;
  disk: Disk;
  disks: Array<Mount>;
  network: Network;
  gpu: Array<Gpu>;
  processes: Processes;
  loadAverage: Array<number> | null;
}

/** A machine without swap has a total of 0, and no percentage. */
export interface Swap {
  total: number;
  used: number;
  free: number;
  usedPercent: number | null;
}

/** One mounted disk; its rates are those of the device that it lies on. */
export interface Mount {
  mount: string;
  device: string;
  fileSystem: string;
  total: number | null;
  used: number | null;
  free: number | null;
  usedPercent: number | null;
  readRate: number | null;
  writeRate: number | null;
}

/** The interfaces to the outside together: without loopback, bridges and the near ends of containers. */
export interface Network {
  rx: number | null;
  tx: number | null;
  rxTotal: number;
  txTotal: number;
  interfaces: Array<Interface>;
}

/** `top`: those that use most CPU and those that use most memory, most CPU first. Looked at every 5 s at most. */
export interface Processes {
  count: number;
  top: Array<ProcessUsage>;
  modelServer: ModelServer;
}

/** `cpuUsage` is a share of the whole machine (all cores: 100). Never its arguments: they can hold secrets. */
export interface ProcessUsage {
  pid: number;
  name: string;
  cpuUsage: number | null;
  memory: number;
}

/** The model server and all its child processes together. Pid unknown: it runs, but as somebody else's. */
export interface ModelServer {
  running: boolean;
  pid: number | null;
  cpuUsage: number | null;
  memory: number | null;
}

/** One model of the model server; null where that server does not say. */
export interface Model {
  id: string;
  loaded: boolean | null;
  contextLength: number | null;
  maxContextLength: number | null;
}

/** `model:list`. `default` answers a `chat:send` that names no model; null: the server has none. */
export interface Models {
  models: Array<Model>;
  default: string | null;
}

/** `monitoring:history`: the last `minutes` of one host. The name may be left out where there is only one host. */
export interface MonitoringHistory {
  host?: string | null;
  /** @defaultValue `60` */
  minutes?: number;
}

/** `monitoring:history`, oldest first, one point every `intervalSeconds` at most; gaps are gaps. */
export interface MonitoringHistoryData {
  host: string;
  intervalSeconds: number;
  points: Array<HistoryPoint>;
}

/** `monitoring:subscribe`: every host, or those named, every 10 s or as often as asked. */
export interface MonitoringSubscribe {
  /** @defaultValue `10` */
  intervalSeconds?: number;
  hosts?: Array<string> | null;
}

/** `monitoring:subscribed`, with the hosts heard of so far; the last sample of each that is not gone follows. */
export interface MonitoringSubscribed {
  intervalSeconds: number;
  hosts: Array<HostState>;
}

/** `monitoring:unsubscribe`: no more of any host. */
export type MonitoringUnsubscribe = Record<string, unknown>;

/** A subtask that a task is created with; it begins as pending. */
export interface NewSubtask {
  title: string;
  /** @defaultValue `""` */
  description?: string;
}

/** The data of a request that needs none. */
export type Nothing = Record<string, unknown>;

/** `session:draining`: this gateway goes away; connect again (anywhere) within the window. */
export interface SessionDraining {
  reconnectWithinMs: number;
}

/** `session:ready`, the first frame on every connection. */
export interface SessionReady {
  connectionId: string;
  user: string;
  limits: Limits;
  heartbeatSeconds: number;
  version: number;
}

/** One subtask. `completedAt` is when it was completed or failed. */
export interface Subtask {
  id: number;
  title: string;
  description: string;
  status: SubtaskStatus;
  /** ISO 8601, in UTC. */
  createdAt: string;
  /** ISO 8601, in UTC. */
  updatedAt: string;
  completedAt: string | null;
}

/** Where a subtask stands; `rejected` did not pass its validation and is to be done again. */
export type SubtaskStatus = "pending" | "executing" | "validating" | "completed" | "rejected" | "failed";

/** In `task:update`: with `id`, what changes in that subtask; without, a new subtask, which needs a title. */
export interface SubtaskChange {
  id?: number | null;
  title?: string | null;
  description?: string | null;
  status?: SubtaskStatus | null;
}

/** One task. `progress` is 0 to 100; `completedAt` is when it was completed, failed or cancelled. */
export interface Task {
  id: number;
  title: string;
  description: string;
  status: TaskStatus;
  priority: TaskPriority;
  progress: number;
  /** ISO 8601, in UTC. */
  createdAt: string;
  /** ISO 8601, in UTC. */
  updatedAt: string;
  completedAt: string | null;
}

/** Where a task stands. The service allows only some ways from one to another. */
export type TaskStatus = "pending" | "planning" | "executing" | "validating" | "completed" | "failed" | "paused" | "cancelled";

/** How soon a task should be done; the service itself makes no difference. */
export type TaskPriority = "low" | "medium" | "high" | "urgent";

/** `task:cancel`: the task becomes cancelled; its subtasks stay as they are. */
export interface TaskCancel {
  taskId: number;
  revision?: number | null;
  requestId?: string | null;
}

/** `task:create`; the same `requestId` again gives the same task. */
export interface TaskCreate {
  title: string;
  /** @defaultValue `""` */
  description?: string;
  /** @defaultValue `"medium"` */
  priority?: TaskPriority;
  /** @defaultValue `[]` */
  subtasks?: Array<NewSubtask>;
  requestId?: string | null;
}

/** `task:get`: the task as it stands. */
export interface TaskGet {
  taskId: number;
}

/**
 * `task:list`: newest first; `before` is the `cursor` of the page before.
 *
 * `text`: only tasks whose title or description contains it, whatever the case of its letters.
 */
export interface TaskList {
  status?: TaskStatus | null;
  priority?: TaskPriority | null;
  text?: string | null;
  /** @defaultValue `50` */
  limit?: number;
  before?: string | null;
}

/**
 * `task:update`, sent by the server: the whole task as it stands at `revision`, since `timestamp`.
 *
 * The same data answers `task:get` (also as `task:update`), `task:create` (`task:created`), a client's `task:update` (`task:updated`) and `task:cancel` (`task:cancelled`). Revisions begin with 1 and have no gap: drop one that is not newer than the last; when one is missing, ask for the task again. Subtasks stand in the order of their making.
 */
export interface TaskState {
  task: Task;
  subtasks: Array<Subtask>;
  /** ISO 8601, in UTC. */
  timestamp: string;
  revision: number;
}

/** `task:subscribe`: the task as it stands, then a `task:update` at every change. */
export interface TaskSubscribe {
  taskId: number;
}

/** `task:subscribed` and `task:unsubscribed`. */
export interface TaskSubscribed {
  taskId: number;
}

/** `task:unsubscribe`: no more of this task. */
export interface TaskUnsubscribe {
  taskId: number;
}

/**
 * `task:update`, sent by a client: whatever is given changes, all of it or nothing.
 *
 * `revision`: change only what is still at this revision. `progress` is for tasks without subtasks; with some, it follows from them. The same `requestId` again changes nothing and gives the task as it then stands.
 */
export interface TaskUpdate {
  taskId: number;
  title?: string | null;
  description?: string | null;
  status?: TaskStatus | null;
  priority?: TaskPriority | null;
  progress?: number | null;
  /** @defaultValue `[]` */
  subtasks?: Array<SubtaskChange>;
  revision?: number | null;
  requestId?: string | null;
}

/** `task:list`. `cursor` asks for the next page; null: this was the last. */
export interface Tasks {
  tasks: Array<Task>;
  cursor: string | null;
}

/** The same request may succeed later without anybody changing it. */
export type RetryableErrorCode = "rate_limited" | "busy" | "model_unavailable" | "bus_unavailable" | "service_unavailable" | "internal";
