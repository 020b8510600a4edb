"""Facts about ComfyUI 0.3.64's node classes beside their interfaces: by which API declared, in what state."""

V3 = frozenset(
    (
        "EmptyAceStepLatentAudio", "TextEncodeAceStepAudio", "SamplerEulerCFGpp", "SamplerLCMUpscale",
        "AlignYourStepsScheduler", "APG", "CLIPAttentionMultiply", "UNetCrossAttentionMultiply",
        "UNetSelfAttentionMultiply", "UNetTemporalAttentionMultiply", "AudioEncoderEncode",
        "AudioEncoderLoader", "WanCameraEmbedding", "Canny", "CFGNorm", "CFGZeroStar",
        "ChromaRadianceOptions", "EmptyChromaRadianceLatentImage", "CLIPTextEncodeSDXL",
        "CLIPTextEncodeSDXLRefiner", "JoinImageWithAlpha", "PorterDuffImageComposite",
        "SplitImageWithAlpha", "CLIPTextEncodeControlnet", "T5TokenizerOptions", "ContextWindowsManual",
        "WanContextWindowsManual", "CosmosImageToVideoLatent", "CosmosPredict2ImageToVideoLatent",
        "EmptyCosmosLatentVideo", "DifferentialDiffusion", "EasyCache", "LazyCache", "ReferenceLatent",
        "Epsilon Scaling", "CLIPTextEncodeFlux", "FluxDisableGuidance", "FluxGuidance",
        "FluxKontextImageScale", "FluxKontextMultiReferenceLatentMethod", "FreSca", "GITSScheduler",
        "CLIPTextEncodeHiDream", "QuadrupleCLIPLoader", "HyperTile", "InstructPixToPixConditioning",
        "LatentAdd", "LatentApplyOperation", "LatentApplyOperationCFG", "LatentBatch",
        "LatentBatchSeedBehavior", "LatentConcat", "LatentCut", "LatentInterpolate", "LatentMultiply",
        "LatentOperationSharpen", "LatentOperationTonemapReinhard", "LatentSubtract", "LoraSave",
        "LotusConditioning", "EmptyLTXVLatentVideo", "LTXVAddGuide", "LTXVConditioning", "LTXVCropGuides",
        "LTXVImgToVideo", "LTXVPreprocess", "LTXVScheduler", "ModelSamplingLTXV", "CLIPTextEncodeLumina2",
        "RenormCFG", "Mahiro", "EmptyMochiLatentVideo", "PatchModelAddDownscale", "ImageRGBToYUV",
        "ImageYUVToRGB", "Morphology", "OptimalStepsScheduler", "PerturbedAttentionGuidance", "PerpNeg",
        "PerpNegGuider", "PhotoMakerEncode", "PhotoMakerLoader", "CLIPTextEncodePixArtAlpha",
        "ImageBlend", "ImageBlur", "ImageQuantize", "ImageScaleToTotalPixels", "ImageSharpen",
        "PrimitiveBoolean", "PrimitiveFloat", "PrimitiveInt", "PrimitiveString",
        "PrimitiveStringMultiline", "TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus",
        "RebatchImages", "RebatchLatents", "SelfAttentionGuidance", "CLIPTextEncodeSD3",
        "ControlNetApplySD3", "EmptySD3LatentImage", "SkipLayerGuidanceSD3", "TripleCLIPLoader",
        "SD_4XUpscale_Conditioning", "SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple",
        "SV3D_Conditioning", "StableZero123_Conditioning", "StableZero123_Conditioning_Batched",
        "StableCascade_EmptyLatentImage", "StableCascade_StageB_Conditioning",
        "StableCascade_StageC_VAEEncode", "StableCascade_SuperResolutionControlnet", "CaseConverter",
        "RegexExtract", "RegexMatch", "RegexReplace", "StringCompare", "StringConcatenate",
        "StringContains", "StringLength", "StringReplace", "StringSubstring", "StringTrim", "TCFG",
        "TomePatchModel", "TorchCompileModel", "ImageUpscaleWithModel", "UpscaleModelLoader",
        "CreateVideo", "GetVideoComponents", "LoadVideo", "SaveVideo", "SaveWEBM", "TrimVideoLatent",
        "Wan22FunControlToVideo", "Wan22ImageToVideoLatent", "WanAnimateToVideo", "WanCameraImageToVideo",
        "WanFirstLastFrameToVideo", "WanFunControlToVideo", "WanFunInpaintToVideo", "WanHuMoImageToVideo",
        "WanImageToVideo", "WanPhantomSubjectToVideo", "WanSoundImageToVideo",
        "WanSoundImageToVideoExtend", "WanTrackToVideo", "WanVaceToVideo",
    )
)  # fmt: skip
"""Declared by its third API: another spelling of choices and hidden inputs, and no key is ever left out."""

EXPERIMENTAL = frozenset(
    (
        "LoadImageOutput", "SamplerEulerCFGpp", "CLIPAttentionMultiply", "UNetCrossAttentionMultiply",
        "UNetSelfAttentionMultiply", "UNetTemporalAttentionMultiply", "CFGNorm",
        "CLIPTextEncodeControlnet", "T5TokenizerOptions", "ContextWindowsManual",
        "WanContextWindowsManual", "DifferentialDiffusion", "EasyCache", "LazyCache",
        "FluxKontextMultiReferenceLatentMethod", "FreSca", "CombineHooks2", "CombineHooks4",
        "CombineHooks8", "ConditioningSetDefaultCombine", "ConditioningSetProperties",
        "ConditioningSetPropertiesAndCombine", "ConditioningTimestepsRange", "CreateHookKeyframe",
        "CreateHookKeyframesFromFloats", "CreateHookKeyframesInterpolated", "CreateHookLora",
        "CreateHookLoraModelOnly", "CreateHookModelAsLora", "CreateHookModelAsLoraModelOnly",
        "PairConditioningCombine", "PairConditioningSetDefaultCombine", "PairConditioningSetProperties",
        "PairConditioningSetPropertiesAndCombine", "SetClipHooks", "SetHookKeyframes",
        "LatentApplyOperation", "LatentApplyOperationCFG", "LatentOperationSharpen",
        "LatentOperationTonemapReinhard", "Load3D", "Load3DAnimation", "Preview3D", "Preview3DAnimation",
        "LoraSave", "Mahiro", "ModelPatchLoader", "QwenImageDiffsynthControlnet", "USOStyleReference",
        "PerpNeg", "PerpNegGuider", "PhotoMakerEncode", "PhotoMakerLoader", "SelfAttentionGuidance",
        "SkipLayerGuidanceSD3", "SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple",
        "StableCascade_SuperResolutionControlnet", "TorchCompileModel", "LoadImageSetFromFolderNode",
        "LoadImageTextSetFromFolderNode", "LoraModelLoader", "LossGraphNode", "SaveLoRANode",
        "TrainLoraNode", "SaveWEBM", "WanAnimateToVideo", "WanHuMoImageToVideo",
    )
)  # fmt: skip
"""Marked as experimental."""

DEPRECATED = frozenset(
    (
        "CheckpointLoader", "ControlNetApply", "PerpNeg", "ControlNetApplySD3",
    )
)  # fmt: skip
"""Kept for old workflows, hidden by editors."""

EDITOR_ONLY = frozenset(("MarkdownNote", "Note", "PrimitiveNode", "Reroute"))
"""Made by the editor itself, which breaks if the server claims them too."""
